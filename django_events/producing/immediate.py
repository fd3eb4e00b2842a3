"""Events straight to Kafka: without transaction, table or order. For ``send_now``."""

import os
import threading
import time
from collections.abc import Collection, Sequence
from typing import Any

from django_events import cloudevents, signals
from django_events.events import Event
from django_events.exceptions import BrokerUnavailable, DeliveryFailed, SendError
from django_events.kafka import config, topics
from django_events.kafka.producer import Producer
from django_events.kafka.record import Record
from django_events.producing.in_async import refuse_in_async
from django_events.producing.in_tests import nothing_is_sent, sent_in_tests
from django_events.producing.metrics import not_sent_now, sent_now
from django_events.producing.tracing import encode, sending

LONGEST = 86_400.0
"""Seconds that anybody can wait: librdkafka counts milliseconds in 32 bits."""

FORGOTTEN_AFTER = 30.0
"""Seconds after which a call in vain says nothing of Kafka any more: a process that is out of service because of it
gets no request that would show that Kafka is back."""

NOTHING_SENT = "Nothing was sent. Call again, or use send(), which waits for Kafka in your place."
PERHAPS_SENT = (
    "What is not acknowledged may have arrived all the same. Send the same events again with send_many_now(): their "
    "ids tell readers that they are duplicates."
)


def produce_now(events: Sequence[Event[Any]], timeout: float) -> None:
    """Send the events in their order, and return when Kafka has acknowledged all. Thread-safe.

    Raises DeliveryFailed after ``timeout`` seconds at most, and SendError before anything is sent.
    """
    refuse_in_async("send_now()", "asend_now()")
    _check_timeout(timeout)
    records = [encode(event) for event in events]
    if nothing_is_sent():
        sent_in_tests.add(events)
    elif records:
        try:
            with sending(records):
                immediate.send(records, min(timeout, LONGEST))
        except DeliveryFailed:
            not_sent_now(events)
            raise
        sent_now(events)
        _tell(events)


class Immediate:
    """The producer of a process for this, made at its first use. Thread-safe: callers take turns, within their time."""

    def __init__(self) -> None:
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._producer: Producer | None = None
        self._trouble: tuple[str, float] = ("", 0.0)

    @property
    def trouble(self) -> str:
        """Why Kafka did not answer the last call; empty if it did, if nobody called, or if that is a while ago.
        Thread-safe."""
        reason, at = self._trouble
        return reason if time.monotonic() - at < FORGOTTEN_AFTER else ""

    def send(self, records: Sequence[Record], timeout: float) -> None:
        """Send the records. Raises DeliveryFailed unless Kafka acknowledges all of them within so many seconds."""
        deadline = time.monotonic() + timeout
        if not self._lock.acquire(timeout=timeout):
            raise DeliveryFailed(
                f"Other threads of this process waited for Kafka all the {timeout:g} s. {NOTHING_SENT}"
            )
        try:
            self._send(records, deadline)
        except BrokerUnavailable as error:
            self._discard()
            self._note(str(error))
            raise DeliveryFailed(f"{error}. {NOTHING_SENT}") from error
        finally:
            self._lock.release()

    def _send(self, records: Sequence[Record], deadline: float) -> None:
        producer = self._producer_for({record.topic for record in records}, deadline)
        deliveries = producer.send(enumerate(records), _seconds_until(deadline))
        is_answer = deliveries.acknowledged or deliveries.row_errors or deliveries.topic_errors
        self._note("" if is_answer else deliveries.failure or "")
        if deliveries.failure:
            self._discard()
        if len(deliveries.acknowledged) < len(records):
            raise DeliveryFailed(
                f"Kafka has acknowledged {len(deliveries.acknowledged):,} of {len(records):,} events: "
                f"{deliveries.failure}. {PERHAPS_SENT}"
            )

    def _producer_for(self, wanted: Collection[str], deadline: float) -> Producer:
        """A producer that has seen these topics; those that are declared and missing are created first."""
        if self._producer is None:
            self._producer = Producer(config.producer_options(gapless=False))  # nobody's order hangs on it
        producer = self._producer
        if not all(map(producer.knows, wanted)):
            producer.connect(_seconds_until(deadline))
        if missing := {topic for topic in wanted if not producer.knows(topic)}:
            there = topics.create_missing(missing, _seconds_until(deadline))
            producer.wait_for(there, producer.knows, deadline)
        for topic in sorted(missing):
            if not producer.knows(topic):
                raise DeliveryFailed(f"Kafka does not have the topic {topic!r}, and it was not created. {NOTHING_SENT}")
        return producer

    def _note(self, trouble: str) -> None:
        """Why Kafka has not answered this call; empty if it has."""
        self._trouble = trouble, time.monotonic()

    def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer:
            producer.discard()

    def after_fork(self) -> None:
        """In a child process: forget the parent's lock, which may be taken, and its producer."""
        if self._producer:
            self._producer.leave_to_parent()
        self._start_afresh()


def _seconds_until(deadline: float) -> float:
    """For librdkafka, to which 0 can mean for ever."""
    return max(deadline - time.monotonic(), 0.001)


def _check_timeout(timeout: object) -> None:
    if not isinstance(timeout, int | float) or isinstance(timeout, bool) or not timeout > 0:
        raise SendError(f"timeout must be a number of seconds above 0, not {timeout!r:.80}.")


def _tell(events: Sequence[Event[Any]]) -> None:
    for event in events:
        signals.event_sent.send_robust(
            sender=event.topic, key=cloudevents.to_bytes(event.key), event_id=event.id, saved_at=None, using=None
        )


immediate = Immediate()

os.register_at_fork(after_in_child=immediate.after_fork)
