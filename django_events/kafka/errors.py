"""What clients of librdkafka say when something is wrong, in sentences for people."""

import re
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from django_events.exceptions import BrokerUnavailable, KafkaRefused
from django_events.kafka import config


class LastError:
    """The ``error_cb`` of a client: keeps the last error. It never raises: that would come out of ``poll``."""

    def __init__(self) -> None:
        self.error: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        if self.error is None or error.code() != KafkaError._ALL_BROKERS_DOWN:  # which comes after what says why
            self.error = error


def no_answer(error: KafkaException, last: LastError) -> str:
    """That Kafka did not answer, with the reason that the client learned last (a refused password, a wrong port)."""
    told = last.error or error.args[0]
    # librdkafka does not report a connection that is closed at once, as one without TLS is where TLS is expected.
    is_all = told.code() == KafkaError._ALL_BROKERS_DOWN
    return f"Kafka at {config.brokers()} does not answer: {_ALL_CLOSED if is_all else explained(told)}"


ABSENCE = frozenset((KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE))
"""Errors that say that nobody has answered."""


class ClientHangs(BrokerUnavailable):
    """This client will never answer; another one may."""


BEYOND = 10.0
"""Seconds beyond a request's own time-out after which nobody will answer any more: its client hangs."""


def answer_of(asked: "Future[Any]", what: str, last: LastError, timeout: float | None = None) -> Any:
    """Kafka's answer to a request to do ``what``. Raises BrokerUnavailable, or KafkaRefused with its reason; and
    ClientHangs, which is only noticed where ``timeout`` tells the request's own.

    Blocks for as long as the request's own time-out.
    """
    if error := failure_in(asked, timeout):
        raise failure_of(error, what, last) from error
    return asked.result()


def failure_in(asked: "Future[Any]", timeout: float | None = None) -> KafkaException | None:
    """What the request has failed with; None if it has not. Blocks and raises as ``answer_of``.

    It is not raised here. An exception that was raised keeps the caller's frame, in which the request is that keeps the
    exception: the client in that frame would be destroyed by Python's collector of garbage, in whatever thread or child
    process, and that may hang.
    """
    try:
        error = asked.exception(None if timeout is None else timeout + BEYOND)
    except TimeoutError as silence:
        raise ClientHangs("A client of Kafka does not answer any more: it hangs (librdkafka#5476)") from silence
    if error is None or isinstance(error, KafkaException):
        return error
    raise error


def failure_of(error: KafkaException, what: str, last: LastError) -> BrokerUnavailable | KafkaRefused:
    """What to raise when a request to do ``what`` has failed so: nobody has answered, or Kafka gives a reason."""
    if error.args[0].code() in ABSENCE:
        return BrokerUnavailable(no_answer(error, last))
    return KafkaRefused(f"Kafka does not {what}: {explained(error.args[0])}")


def explained(error: KafkaError) -> str:
    """What went wrong, and which option to look at if it is one's fault. The same each time that it is the same."""
    remedy = remedy_of(error)
    return f"{_text(error)}. {remedy}" if remedy else _text(error)


def remedy_of(error: KafkaError) -> str | None:
    """Which option to look at; None if it is no option's fault, as far as we can tell."""
    text = error.str()
    options = next((options for pattern, options in _OPTIONS_AT_FAULT if pattern.search(text)), None)
    return f"Check {options} in settings.DJANGO_EVENTS['KAFKA']" if options else None


def _text(error: KafkaError) -> str:
    return _SAID_IN_TWO_WAYS.sub(r"SSL handshake failed: \1", _DIFFERS_EACH_TIME.sub("", error.str()).strip())


_ALL_CLOSED = (
    "no broker keeps a connection open. If they run, check 'bootstrap.servers' and 'security.protocol' in "
    "settings.DJANGO_EVENTS['KAFKA']"
)

_DIFFERS_EACH_TIME = re.compile(
    r"^\w+://\S+: | from broker \S+(?=: )| \(after \d+ms in state \w+(, \d+ identical error\(s\) suppressed)?\)$"
)
"""Which broker it was, and how long it took: with it each try would look like news."""

_SAID_IN_TWO_WAYS = re.compile(r"^(?:SSL handshake failed: )?(error:[^:]*:[^:]*::certificate verify failed)(?:: .*)?$")
"""Of a certificate librdkafka says now this much, now that it failed in a handshake, and in more words."""

_OPTIONS_AT_FAULT = tuple(
    (re.compile(pattern, re.IGNORECASE), options)
    for pattern, options in (
        ("invalid_token|OAUTHBEARER token|OAuth token", "what the function 'oauth_cb' returns"),
        ("mechanism handshake failed", "'sasl.mechanisms' and 'security.protocol'"),
        ("SASL authentication error", "'sasl.username' and 'sasl.password'"),
        ("certificate verify failed", "'ssl.ca.location', and that the brokers' certificates are for their names,"),
        ("tls alert", "'ssl.certificate.location' and 'ssl.key.location'"),
        ("security.protocol|SSL handshake failed|PLAINTEXT broker listener", "'security.protocol'"),
    )
)
"""What librdkafka and Kafka say, and the options that it is about; the first that fits counts."""
