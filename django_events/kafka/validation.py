"""Whether librdkafka takes the options in the settings: asks it, without a broker and without the site's functions."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import confluent_kafka

from django_events.exceptions import SettingsError
from django_events.kafka import clients, config


def refused_options() -> Iterator[str]:
    """What librdkafka says of a producer's and a consumer's options, as sentences. Connects to nothing."""
    found: dict[str, None] = {}
    for kind, options in (
        (confluent_kafka.Producer, config.producer_options),
        (confluent_kafka.Consumer, lambda **how: config.consumer_options("check", **how)),
    ):
        if problem := _refusal(kind, options):
            found[problem] = None
    yield from found


def _refusal(kind: Callable[..., object], options: Callable[..., Mapping[str, Any]]) -> str | None:
    try:
        given = options(resolve=_stand_in)
        there = {name: value for name, value in given.items() if name not in _LEFT_OUT and value is not None}
        clients.make(kind, there)
    except SettingsError as error:
        return str(error)
    return None


def _stand_in(name: str, value: Any) -> Any:
    """For a function, whose answer may have to be fetched from afar: any value that may be there, or None for none."""
    if name == "oauth_cb":
        return lambda _config: ("token", time.time() + 3600)
    if not config.is_function(name, value):
        return value
    return "unknown" if name in ("sasl.username", "sasl.password") else None


_LEFT_OUT = ("bootstrap.servers", "debug")
