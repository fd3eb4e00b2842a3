"""Options for security that would not do what the site means by them, though librdkafka takes them; and those that do
what they say, and are for trying things out."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
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


def unverified(options: Mapping[str, Any]) -> str:
    """The option of this client with which anybody's certificate is taken for Kafka's; empty if it is looked at, or
    there is none."""
    if not _protocol(options).endswith("ssl"):
        return ""
    if _text(options.get(_VERIFICATION, True)) in _OFF:
        return _VERIFICATION
    return _NAMES if _text(options.get(_NAMES, "https")) == "none" else ""


def overheard(options: Mapping[str, Any]) -> list[str]:
    """The hosts on other machines that this client talks to in plain text; none where a function says it."""
    brokers = options.get("bootstrap.servers")
    if _protocol(options) not in ("plaintext", "sasl_plaintext") or not isinstance(brokers, str):
        return []
    return [host for host in map(_host, brokers.split(",")) if host and not _is_this_machine(host)]


def tells_secrets(options: Mapping[str, Any]) -> bool:
    """Whether this client has librdkafka log with what it is configured, or how it logs in."""
    debug = options.get("debug")
    return isinstance(debug, str) and not _TELLING.isdisjoint(_text(context) for context in debug.split(","))


_VERIFICATION = "enable.ssl.certificate.verification"
_NAMES = "ssl.endpoint.identification.algorithm"
_OFF = ("false", "f", "0")
_TELLING = frozenset(("conf", "security", "all"))


def _protocol(options: Mapping[str, Any]) -> str:
    """In lower case; empty where a function says it."""
    protocol = options.get("security.protocol", "plaintext")
    return protocol.lower() if isinstance(protocol, str) else ""


def _text(value: Any) -> str:
    return str(reveal(value)).strip().lower()


def _host(broker: str) -> str:
    """Of ``kafka1:9092``, ``[::1]:9092`` or ``PLAINTEXT://kafka1``."""
    address = broker.strip().rpartition("://")[2]
    return address[1:].partition("]")[0] if address.startswith("[") else address.partition(":")[0]


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host.lower() == "localhost"


def is_plain(value: Any) -> bool:
    """Whether librdkafka gets what was meant: it would take the text of anything, such as "b'secret'" of bytes."""
    return callable(value) or isinstance(reveal(value), str | int | float)
