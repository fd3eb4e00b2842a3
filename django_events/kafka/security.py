"""Options for security that would not do what the site means by them, though librdkafka takes them."""

from collections.abc import Iterator, Mapping
from typing import Any

from django_events.kafka.secrets import reveal


def problems(options: Mapping[str, Any]) -> Iterator[str]:
    """Options that would not be used as their names say, of the options of one client."""
    protocol = options.get("security.protocol", "plaintext")
    if callable(protocol) or not isinstance(protocol, str):
        return
    protocol = protocol.lower()
    for prefix, is_used, remedy in (
        ("sasl.", protocol.startswith("sasl_"), "'SASL_SSL', or to 'SASL_PLAINTEXT' in a network that you trust"),
        ("ssl.", protocol.endswith("ssl"), "'SASL_SSL', or to 'SSL' without user and password"),
    ):
        unused = [name for name in options if isinstance(name, str) and name.startswith(prefix)]
        if unused and not is_used:
            yield (
                f"settings.DJANGO_EVENTS['KAFKA'][{unused[0]!r}] has no effect, because 'security.protocol' is "
                f"{protocol!r}. Set that to {remedy}."
            )
    by_token = str(reveal(options.get("sasl.mechanisms", ""))).upper() == "OAUTHBEARER"
    if (
        by_token
        and "oauth_cb" not in options
        and not any(str(name).startswith("sasl.oauthbearer.") for name in options)
    ):
        yield (
            "settings.DJANGO_EVENTS['KAFKA']['sasl.mechanisms'] is 'OAUTHBEARER', but nothing gives tokens. Set "
            "'oauth_cb' to a function that returns a token and the time at which it ends."
        )


def is_plain(value: Any) -> bool:
    """Whether librdkafka gets what was meant: it would take the text of anything, such as "b'secret'" of bytes."""
    return callable(value) or isinstance(reveal(value), str | int | float)
