"""All subscriptions of a process: who wants which events, and the reader that runs as long as anybody wants some."""

import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable
from typing import Any

from django_events import cloudevents, receiving, repeats
from django_events.events import Event
from django_events.exceptions import BrokerUnavailable, DecodeError, KafkaRefused
from django_events.following.callbacks import Callbacks
from django_events.following.gap import Gap
from django_events.following.reader import Reader
from django_events.following.subscription import By, Subscription
from django_events.kafka import config
from django_events.kafka.record import ReceivedRecord
from django_events.log_fields import fields
from django_events.logging import fields_of
from django_events.producing.in_tests import nothing_is_sent
from django_events.receiving import Reading

logger = logging.getLogger("django_events.broadcast")

LINGER = 10.0
"""Seconds for which the reader stays when nobody subscribes any more: somebody may open the next page."""

Subscriptions = dict["Subscription[Any]", None]
"""A set that keeps its order."""


class Wanted:
    """Who wants which events of one topic. Finding them is one look-up of a key for each function that makes keys."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self._all: Subscriptions = {}
        self._by: dict[By[Any] | None, defaultdict[Hashable, Subscriptions]] = {}

    def __bool__(self) -> bool:
        return bool(self._all or self._by)

    def add(self, subscription: Subscription[Any]) -> None:
        if subscription.key is None:
            self._all[subscription] = None
        else:
            keys = self._by.setdefault(subscription.by, defaultdict(dict))
            keys[subscription.key][subscription] = None

    def remove(self, subscription: Subscription[Any]) -> None:
        self._all.pop(subscription, None)
        keys = self._by.get(subscription.by)
        if keys is None or subscription.key not in keys:
            return
        keys[subscription.key].pop(subscription, None)
        if not keys[subscription.key]:
            del keys[subscription.key]
        if not keys:
            del self._by[subscription.by]

    def everyone(self) -> list[Subscription[Any]]:
        return [*self._all, *(each for keys in self._by.values() for found in keys.values() for each in found)]

    def of_key(self, key: Hashable) -> list[Subscription[Any]]:
        """Those who want all events, or those of this key of Kafka's."""
        keys = self._by.get(None)
        found = keys.get(key) if keys else None
        return [*self._all, *(found or ())]

    def functions(self) -> list[By[Any]]:
        """The functions that make keys."""
        return [by for by in self._by if by is not None]

    def of_function(self, by: By[Any], key: Hashable) -> Iterable[Subscription[Any]]:
        """Those who want the events of which this function makes this key."""
        keys = self._by.get(by)
        return list(keys.get(key) or ()) if keys else ()


class Hub:
    """One a process. Thread-safe. A feed of its reader."""

    def __init__(self) -> None:
        self._start_afresh({})

    def _start_afresh(self, wanted: dict[str, Wanted]) -> None:
        self._lock = threading.Lock()
        self._wanted = wanted
        self._reader: Reader | None = None
        self._left_at = 0.0
        self._callbacks = Callbacks()

    def __str__(self) -> str:
        return "The hub of subscriptions"

    # ── subscriptions come and go ────────────────────────────────────────────────────────────────────────────────

    def expect(self, reading: Reading) -> None:
        """How records of this topic are read; before ``enter``. Idempotent."""
        with self._lock:
            self._wanted.setdefault(reading.topic, Wanted(reading)).reading = reading

    def enter(self, subscription: Subscription[Any], timeout: float) -> None:
        """Have it get events from when this returns. Raises BrokerUnavailable after ``timeout`` seconds, KafkaRefused
        for a topic that may not be read, and what ends a reader: errors of settings."""
        with self._lock:
            self._wanted[subscription.topic].add(subscription)
            if nothing_is_sent():
                return
            if self._reader is None or self._reader.error:
                self._reader = Reader([self], _not_split_off, _say, is_wanted=self._is_wanted)
                self._reader.start()
            reader = self._reader
        if not reader.follow(subscription.topic, timeout):
            if reader.error:
                raise reader.error
            kafka = f"Kafka at {config.brokers()}"
            raise BrokerUnavailable(
                f"{kafka} has not said within {timeout:g} s where topic {subscription.topic!r} ends. Subscribe "
                "again when Kafka answers, or wait longer with timeout=."
            )
        if refused := reader.refused.get(subscription.topic):
            raise KafkaRefused(str(refused))

    def leave(self, subscription: Subscription[Any]) -> None:
        """It gets nothing more. Idempotent."""
        with self._lock:
            if wanted := self._wanted.get(subscription.topic):
                wanted.remove(subscription)
            self._left_at = time.monotonic()

    def _is_wanted(self) -> bool:
        """Asked by the reader in each round; it ends after a no."""
        with self._lock:
            is_so = any(self._wanted.values()) or time.monotonic() < self._left_at + LINGER
            if not is_so:
                self._reader = None
            return is_so

    def count(self) -> int:
        """How many subscriptions there are."""
        with self._lock:
            return sum(len(wanted.everyone()) for wanted in self._wanted.values())

    # ── for the reader ───────────────────────────────────────────────────────────────────────────────────────────

    @property
    def topics(self) -> Collection[str]:
        with self._lock:
            return [topic for topic, wanted in self._wanted.items() if wanted]

    @property
    def is_full(self) -> bool:
        return False

    def add(self, record: ReceivedRecord) -> None:
        """Give the event to those who want it."""
        with self._lock:
            wanted = self._wanted.get(record.topic)
            if not wanted:
                return
            found = wanted.of_key(cloudevents.to_text(record.key))
            functions = wanted.functions()
        if not found and not functions:
            return
        try:
            event = receiving.event_in(record, wanted.reading)
        except DecodeError as error:
            text = "Subscribers do not get a record that cannot be read: %s"
            repeats.log(logger, logging.WARNING, record.topic, text, error, extra=_fields(record))
            return
        except BaseException as error:  # of a codec of the site's: the reader has other feeds
            text = "Subscribers do not get the record %s, which could not be read"
            kind = (record.topic, type(error))
            repeats.log(logger, logging.ERROR, kind, text, record, exc_info=error, extra=_fields(record))
            return
        for by in functions:
            found += self._found_by(wanted, by, event)
        for subscription in found:
            self._give(subscription, event)

    def missed(self, gap: Gap) -> None:
        """Tell those who subscribe to the topic that they may have missed events."""
        with self._lock:
            wanted = self._wanted.get(gap.topic)
            subscriptions = wanted.everyone() if wanted else []
        extra = fields(topic=gap.topic, partition=gap.partition, offset=gap.start)
        logger.warning("Subscriptions may have missed events: Kafka has no longer %s", gap, extra=extra)
        for subscription in subscriptions:
            subscription.missed = True

    def _give(self, subscription: Subscription[Any], event: Event[Any]) -> None:
        try:
            if subscription.add(event) and subscription.callback:
                self._callbacks.call(subscription)
        except Exception as error:
            text, kind = "A subscription to topic %r did not get an event", (event.topic, type(error))
            repeats.log(logger, logging.ERROR, kind, text, subscription.topic, exc_info=error, extra=fields_of([event]))

    def _found_by(self, wanted: Wanted, by: By[Any], event: Event[Any]) -> Iterable[Subscription[Any]]:
        try:
            key = by(event)
            with self._lock:
                return wanted.of_function(by, key)
        except BaseException as error:
            text, kind = "The function %r, which makes keys for subscriptions, failed", (event.topic, type(error))
            repeats.log(logger, logging.ERROR, kind, text, by, exc_info=error, extra=fields_of([event]))
            return ()

    def after_fork(self) -> None:
        """In a child process, where the parent's reader does not run: nobody subscribes any more. How topics are read
        stays known, for subscriptions that were made and not yet opened."""
        _inherited.append((self._lock, self._reader, self._wanted, self._callbacks))
        for wanted in self._wanted.values():
            for subscription in wanted.everyone():
                subscription.after_fork()
        self._start_afresh({topic: Wanted(wanted.reading) for topic, wanted in self._wanted.items()})


def _fields(record: ReceivedRecord) -> dict[str, Any]:
    return fields(topic=record.topic, partition=record.partition.number, offset=record.offset)


def _not_split_off(reader: Reader) -> None:
    raise AssertionError("the hub is never full")


def _say(line: str) -> None:
    logger.debug("Subscriptions: %s", line)


_inherited: list[object] = []

hub = Hub()

os.register_at_fork(after_in_child=hub.after_fork)
