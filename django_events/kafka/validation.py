"""Whether librdkafka takes the options in the settings: asks it, without a broker."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import confluent_kafka

from django_events.exceptions import SettingsError
from django_events.kafka import config
from django_events.kafka.errors import refused_options_named
from django_events.kafka.logs import QUIET_LOGGER


def refused_options() -> Iterator[str]:
    """What librdkafka says of a producer's and a consumer's options, as sentences. Connects to nothing."""
    found: dict[str, None] = {}
    for make, options in (
        (confluent_kafka.Producer, config.producer_options),
        (confluent_kafka.Consumer, lambda: config.consumer_options("check")),
    ):
        if problem := _refusal(make, options):
            found[problem] = None
    yield from found


def _refusal(make: Callable[..., object], options: Callable[[], Mapping[str, Any]]) -> str | None:
    try:
        given = {name: value for name, value in options().items() if name not in ("bootstrap.servers", "debug")}
        with refused_options_named():
            make(given, logger=QUIET_LOGGER)
    except SettingsError as error:
        return str(error)
    return None
