"""One librdkafka producer, and what became of the records that it was given.

Records of one call reach each partition in the order given, and nothing is sent after the first failure. Those that are
the first of this producer for their partition go ahead of the others (``first_records``).
"""

import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ClusterMetadata, TopicMetadata

from django_events import crash_points
from django_events.exceptions import BrokerUnavailable
from django_events.kafka import clients, names
from django_events.kafka.errors import LastError, explained, no_answer, remedy_of
from django_events.kafka.first_records import FirstRecords, Sent

ROW_ERRORS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError._INVALID_ARG,
    }
)
"""Refusals that say something about the record itself: sending it again will not help. Its time is not its own: it is
that at which it is sent."""

TOPIC_ERRORS = frozenset({KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})
"""Refusals of the topic as a whole, by the client. Whatever a broker answers is one, too, unless it is about the
record: it says nothing of other topics, and what passes by itself librdkafka keeps to itself."""

_CONSEQUENCES = frozenset({KafkaError._FATAL, KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})
"""What becomes of the other records after a fatal error of the client: it says nothing of why."""

_CODES_OF_THE_CLIENT = range(-200, -99)  # RD_KAFKA_RESP_ERR__BEGIN to __END in rdkafka.h

WARMING = 0.5
"""Seconds that Kafka has for the second answer to a new producer."""

_MOMENT = 0.001  # seconds; to librdkafka 0 can mean for ever

AFTER_FATAL = 1.0
"""Seconds for which reports are waited for after a fatal error of the client."""

_REPORTS_SERVED_EVERY = 500  # records; keeps the queue of delivery reports short during a long round

_ANY_PARTITION = -1  # for librdkafka: the one that the partitioner says

_TROUBLE_BORNE = 10  # exceptions of one wait; the client has one fatal error, and it raises it once

_Report = tuple[int, str, KafkaError | None]
"""Token, topic and what went wrong with one record."""

_OnDelivery = Callable[[KafkaError | None, object], None]


@dataclass(slots=True)
class Deliveries:
    """What became of the records of one ``send``, by the tokens that they came with."""

    acknowledged: list[int] = field(default_factory=list)
    row_errors: dict[int, str] = field(default_factory=dict)
    topic_errors: dict[str, str] = field(default_factory=dict)
    """By topic, without prefix."""
    other_errors: list[str] = field(default_factory=list)
    silent: set[str] = field(default_factory=set)
    """The topics of those that Kafka was given and had not answered about when the time was over, if nothing else went
    wrong."""
    were_coming: bool = False
    """Whether answers came until the end, so that those of ``silent`` are only late: in the second half of the time."""

    @property
    def failure(self) -> str | None:
        """A sentence about the first thing that went wrong; None if nothing did."""
        found = [*self.row_errors.values(), *self.topic_errors.values(), *self.other_errors]
        return found[0] if found else None


class Producer:
    """One idempotent librdkafka producer. Owned by one thread; not thread-safe. Every wait is bounded.

    After a ``send`` with a failure it is spent: ``discard`` it and build a new one. What is still on its way then
    may be delivered late; the same rows sent again make a duplicate, never a change of order.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        """``options`` as ``config`` makes them for a producer. Does not connect."""
        self._last_error = LastError()
        self._client = clients.make(confluent_kafka.Producer, options | {"error_cb": self._last_error})
        self._pid = os.getpid()
        self._leaderless: dict[str, list[int]] = {}
        """By wire name of each topic that is there, its partitions without leader."""
        self._in_sync: dict[str, dict[int, int]] = {}
        """By wire name, how many copies of each partition are in sync."""
        self._first_records = FirstRecords(str(options.get("partitioner")))
        self._is_warm = False
        self._produced = 0
        self._reports: list[_Report] = []
        self._reported_at = 0.0

    def connect(self, timeout: float) -> None:
        """Ask Kafka for its topics: proves that it answers, and warms the connection up.

        Raises BrokerUnavailable if there is no answer within ``timeout`` seconds; the first time it asks twice.
        """
        deadline = time.monotonic() + timeout
        metadata = self._ask(timeout)
        if not self._is_warm:
            # librdkafka asks for the producer's id 500 ms after it is made, unless an answer reaches it while it is
            # connected. The first answer may have come too early for that.
            with suppress(BrokerUnavailable):  # it has answered: this is about half a second, not about whether it does
                metadata = self._ask(max(min(deadline - time.monotonic(), WARMING), _MOMENT))
            self._is_warm = True
        there = {name: topic for name, topic in metadata.topics.items() if topic.error is None}
        self._leaderless = {name: _leaderless(topic) for name, topic in there.items()}
        self._in_sync = {name: _in_sync(topic) for name, topic in there.items()}
        partitions = {name: len(topic.partitions) for name, topic in there.items()}
        self._first_records.learn(partitions, self._leaderless)

    def _ask(self, timeout: float) -> ClusterMetadata:
        try:
            return self._client.list_topics(timeout=timeout)
        except KafkaException as error:
            with suppress(KafkaException, SystemError):  # a fatal error, such as that we may not produce
                self._client.poll(0)
            raise BrokerUnavailable(no_answer(error, self._last_error)) from error

    def knows(self, topic: str) -> bool:
        """Whether the topic was there at the last ``connect``. Records for another are never to be given to us."""
        return names.on_wire(topic) in self._leaderless

    def is_whole(self, topic: str) -> bool:
        """Whether the topic was there, and each of its partitions had a leader, at the last ``connect``."""
        return self._leaderless.get(names.on_wire(topic)) == []

    def wait_for(
        self, topics: Collection[str], is_there: Callable[[str], bool], deadline: float, *, least: float = _MOMENT
    ) -> None:
        """Ask Kafka for its topics, at least once, until these are there, as ``is_there`` says (``knows`` or
        ``is_whole``), or until the deadline (time.monotonic). A new topic takes a moment until every broker knows it
        and its partitions have leaders, whoever made it.

        Each question may take the time that is left, and ``least`` seconds in any case. Raises BrokerUnavailable if
        one has no answer.
        """
        self.connect(max(deadline - time.monotonic(), least))
        while not all(map(is_there, topics)) and time.monotonic() < deadline:
            time.sleep(0.05)
            self.connect(max(deadline - time.monotonic(), least))

    def problem_of(self, topic: str) -> str | None:
        """Why the topic is not whole; None if it is."""
        missing = self._leaderless.get(names.on_wire(topic))
        if missing is None:
            return "Kafka does not have it, and it was not created"
        return f"partition {', '.join(map(str, missing))} has no leader" if missing else None

    def lack_of_copies(self, topic: str, least: int) -> str | None:
        """Why Kafka took no event of this topic at the last ``connect``, if ``least`` copies must be in sync; None if
        so many were."""
        short = sorted(number for number, count in self._in_sync.get(names.on_wire(topic), {}).items() if count < least)
        if not short:
            return None
        return f"partition {', '.join(map(str, short))} has fewer than {least} copies in sync (min.insync.replicas)"

    def send(self, records: Iterable[Sent], timeout: float) -> Deliveries:
        """Send the records, each with a token of the caller's, and wait for Kafka at most ``timeout`` seconds."""
        self._produced, self._reports, self._last_error.error = 0, [], None
        deadline = time.monotonic() + timeout
        first, others = self._first_records.split(records)
        trouble = self._exchange(first, deadline)
        if not trouble and self._all_are_acknowledged():
            self._first_records.have_arrived(first)
            trouble = self._exchange(others, deadline)
        result, consequences = _sorted(self._reports)
        if len(self._reports) < self._produced:
            if not trouble and not result.failure and not consequences:
                result.silent = self._unreported([*first, *others])
                result.were_coming = self._reported_at > deadline - timeout / 2
            trouble.append(f"no acknowledgement in time{self._what_is_to_be_mended()}")
        result.other_errors += [*trouble, *consequences]
        return result

    def _exchange(self, records: Sequence[Sent], deadline: float) -> list[str]:
        """Hand the records over and wait until each is reported; what went wrong besides the reports."""
        if not records:
            return []
        trouble = self._produce(records, deadline)
        if crash_points.armed:
            crash_points.reached("produced-not-acknowledged")
        return trouble + self._wait(deadline)

    def _all_are_acknowledged(self) -> bool:
        return len(self._reports) == self._produced and not any(error for _, _, error in self._reports)

    def _unreported(self, records: Sequence[Sent]) -> set[str]:
        """The topics of records that were handed over and have no report."""
        reported = {token for token, _, _ in self._reports}
        return {record.topic for token, record in records[: self._produced] if token not in reported}

    def _what_is_to_be_mended(self) -> str:
        """What has happened during this ``send`` that only a person can mend, such as a password that was changed."""
        error = self._last_error.error
        return f": {explained(error)}" if error and remedy_of(error) else ""

    def discard(self) -> None:
        """Give up what has not been sent and let go of the client. Does not wait for acknowledgements."""
        if self._pid != os.getpid():
            self.leave_to_parent()
            return
        with suppress(KafkaException, SystemError):  # a fatal error that nobody has been told of yet
            self._client.purge()
            self._client.poll(0)

    def leave_to_parent(self) -> None:
        """In a child process: forget the client without destroying it."""
        clients.never_destroy(self._client)

    def _produce(self, records: Sequence[Sent], deadline: float) -> list[str]:
        """Hand the records to librdkafka until one is refused, here or by the broker; what went wrong besides."""
        checked = 0
        wire_names: dict[str, str] = {}
        produce, reports = self._client.produce, self._reports  # this loop runs for every row of the outbox
        without_key = self._first_records.without_key
        try:
            for token, record in records:
                topic, key, value = record.topic, record.key, record.value
                self._produced += 1
                report = partial(_append_report, reports, token, topic)
                try:
                    headers = record.headers
                except ValueError as error:  # the row is damaged
                    report(KafkaError(KafkaError._INVALID_ARG, f"its headers cannot be read: {error}"), None)
                    break
                wire_name = wire_names.get(topic) or wire_names.setdefault(topic, names.on_wire(topic))
                where = without_key.get(topic, _ANY_PARTITION) if key is None else _ANY_PARTITION
                try:
                    produce(wire_name, value=value, key=key, headers=headers, partition=where, on_delivery=report)
                except BufferError:
                    self._make_room(deadline)
                    produce(wire_name, value=value, key=key, headers=headers, partition=where, on_delivery=report)
                except KafkaException as error:
                    report(error.args[0], None)
                    break
                if self._produced % _REPORTS_SERVED_EVERY == 0:
                    self._client.poll(0)
                    if any(error for _, _, error in reports[checked:]):
                        break
                    checked = len(reports)
        except (BufferError, KafkaException, SystemError) as error:
            return [_text(error)]
        return []

    def _make_room(self, deadline: float) -> None:
        """librdkafka's queue is full of records whose reports nobody has served yet, or of ones on their way."""
        before = len(self._client)
        while len(self._client) >= before and time.monotonic() < deadline:
            self._client.poll(0.05)

    def _wait(self, deadline: float) -> list[str]:
        """Wait until every record is reported, in slices, so that a signal to the process is seen.

        A fatal error of the client comes out of ``flush`` in front of the reports that tell which records it hit. Of
        records that were on their way behind those, the client never reports.
        """
        trouble: list[str] = []
        while (seconds_left := deadline - time.monotonic()) > 0 and len(trouble) < _TROUBLE_BORNE:
            before = len(self._reports)
            try:
                if not self._client.flush(min(0.2, seconds_left)):
                    break
            except (KafkaException, SystemError) as error:
                trouble.append(_text(error))
                deadline = min(deadline, time.monotonic() + AFTER_FATAL)
            if len(self._reports) > before:
                self._reported_at = time.monotonic()
        return trouble


def _leaderless(topic: TopicMetadata) -> list[int]:
    return sorted(number for number, partition in topic.partitions.items() if partition.leader < 0)


def _in_sync(topic: TopicMetadata) -> dict[int, int]:
    return {number: len(partition.isrs) for number, partition in topic.partitions.items()}


def _text(error: BaseException) -> str:
    """What an exception of the client says, for people."""
    if isinstance(error, BufferError):
        return "librdkafka's queue stayed full"
    cause = error.__cause__ if isinstance(error, SystemError) else error  # a callback met an error that was pending
    return explained(cause.args[0]) if isinstance(cause, KafkaException) else repr(error)


def _append_report(reports: list[_Report], token: int, topic: str, error: KafkaError | None, _message: object) -> None:
    """The delivery callback. It only appends: an exception in here would come out of ``poll`` or ``flush``."""
    reports.append((token, topic, error))


def _sorted(reports: list[_Report]) -> tuple[Deliveries, list[str]]:
    """What became of the records; and what is only the consequence of something else."""
    result = Deliveries()
    consequences: list[str] = []
    for token, topic, error in reports:
        if error is None:
            result.acknowledged.append(token)
        elif error.code() in ROW_ERRORS:
            result.row_errors[token] = error.str()
        elif error.code() in TOPIC_ERRORS or error.code() not in _CODES_OF_THE_CLIENT:
            result.topic_errors[topic] = error.str()
        else:
            (consequences if error.code() in _CONSEQUENCES else result.other_errors).append(error.str())
    return result, consequences
