"""What clients of librdkafka say when something is wrong, in sentences for people."""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from django_events.exceptions import BrokerUnavailable, KafkaRefused, SettingsError
from django_events.kafka import config


class LastError:
    """The ``error_cb`` of a client: keeps the last error. It never raises: that would come out of ``poll``."""

    def __init__(self) -> None:
        self.error: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        self.error = error


def no_answer(error: KafkaException, last: LastError) -> str:
    """That Kafka did not answer, with the reason that the client learned last (a refused password, a wrong port)."""
    reason = last.error.str() if last.error else error.args[0].str()
    return f"Kafka at {config.brokers()} does not answer: {reason}"


_ABSENCE = frozenset((KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE))
"""Errors that say that nobody has answered."""


def answer_of(asked: "Future[Any]", what: str, last: LastError) -> Any:
    """Kafka's answer to a request to do ``what``. Raises BrokerUnavailable, or KafkaRefused with its reason.

    Blocks for as long as the request's own time-out.
    """
    try:
        return asked.result()
    except KafkaException as error:
        if error.args[0].code() in _ABSENCE:
            raise BrokerUnavailable(no_answer(error, last)) from error
        raise KafkaRefused(f"Kafka does not {what}: {error.args[0].str()}") from error


@contextmanager
def refused_options_named() -> Iterator[None]:
    """Around the making of a client: raises SettingsError for an option that librdkafka does not take."""
    try:
        yield
    except (KafkaException, TypeError, ValueError) as error:
        reason = error.args[0].str() if isinstance(error, KafkaException) else str(error)
        raise SettingsError(
            f"librdkafka does not take the Kafka options in settings.DJANGO_EVENTS: {reason}. Correct or remove it."
        ) from error
