"""Hands the rows of a round to Kafka, and finds out what became of each."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from django_events.cloudevents import SEQUENCE_HEADER
from django_events.exceptions import BrokerUnavailable
from django_events.kafka import config, topics
from django_events.kafka.producer import Deliveries, Producer
from django_events.kafka.record import Headers
from django_events.models import WaitingRow
from django_events.producing.patience import Patience

CONNECT_WAIT = 5.0
"""Seconds that Kafka has to answer a question about its topics. No lane is locked then."""

ALONE_WAIT = 5.0
"""Seconds for which rows are sent one by one, after one of a round was refused. The rest has its turn next round."""


@dataclass(slots=True)
class Sending:
    """What became of the rows of one round."""

    acknowledged: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    """Rows that Kafka refuses even when they are sent alone, with the reason."""
    topic_errors: dict[str, str] = field(default_factory=dict)
    unanswered: str | None = None
    """What went wrong, if Kafka neither took nor refused some rows."""
    silent: set[str] = field(default_factory=set)
    """The topics of these rows, if there was simply no answer. It may be about them alone."""


class Courier:
    """Keeps one producer for as long as it works. Owned by one thread; every wait is bounded."""

    def __init__(self) -> None:
        self._producer: Producer | None = None
        self._patience = Patience()
        self._least_copies: dict[str, int] = {}
        """By topic that was silent, how many copies must be in sync before it is tried again."""

    @property
    def longest_wait(self) -> float:
        """Seconds that ``send`` takes at most."""
        return self._patience.seconds + ALONE_WAIT

    def connect(self) -> Producer:
        """A producer that Kafka has answered. Raises BrokerUnavailable, or SettingsError for unsafe options."""
        if self._producer is None:
            producer = Producer(config.producer_options())
            producer.connect(CONNECT_WAIT)
            self._producer = producer
        return self._producer

    def close(self) -> None:
        """Let go of the producer, without waiting. The next use makes a new one."""
        producer, self._producer = self._producer, None
        if producer:
            producer.discard()

    def cannot_send_to(self, wanted: Collection[str]) -> dict[str, str]:
        """Why nothing can be sent to some of these topics now: Kafka lacks them, or a part of them.

        Creates those that may be created. Raises BrokerUnavailable.
        """
        producer = self.connect()
        if all(producer.is_whole(topic) and topic not in self._least_copies for topic in wanted):
            return {}
        unknown = {topic for topic in wanted if not producer.knows(topic)}
        producer.connect(CONNECT_WAIT)  # what was not whole may be by now
        if new := {topic for topic in unknown if not producer.is_whole(topic)}:
            there = topics.create_missing(new, CONNECT_WAIT)
            producer.wait_for(there, producer.is_whole, time.monotonic() + CONNECT_WAIT, least=CONNECT_WAIT)
        found = {topic: producer.problem_of(topic) or self._lack_of_copies(topic, producer) for topic in sorted(wanted)}
        return {topic: problem for topic, problem in found.items() if problem}

    def look_into_silence(self, silent: Collection[str]) -> None:
        """Kafka did not answer about events of these topics: find out how many copies must be in sync, so that none of
        them is tried again in vain while too few are. All others would wait for each such try."""
        self._least_copies |= topics.least_copies(silent, CONNECT_WAIT)

    def _lack_of_copies(self, topic: str, producer: Producer) -> str | None:
        least = self._least_copies.get(topic, 0)
        problem = producer.lack_of_copies(topic, least)
        if not problem:
            self._least_copies.pop(topic, None)
        return problem

    def send(self, rows: Sequence[WaitingRow]) -> Sending:
        """Send the rows in their order; after the first failure no more, but for finding out which row is at fault."""
        started = time.monotonic()
        deliveries = self.connect().send(((row.id, _RecordOfRow(row)) for row in rows), self._patience.seconds)
        if deliveries.acknowledged or deliveries.silent:  # a refusal says nothing of how quick Kafka is
            was_short = not deliveries.acknowledged or deliveries.were_coming
            self._patience.learn(was_short=was_short, seconds=time.monotonic() - started)
        sending = Sending(deliveries.acknowledged, topic_errors=deliveries.topic_errors)
        if deliveries.failure:
            self.close()
        if deliveries.row_errors:
            _send_alone(_suspects(rows, deliveries), sending)
        elif not deliveries.topic_errors:
            sending.unanswered = deliveries.failure
            sending.silent = deliveries.silent
        return sending


class _RecordOfRow:
    """What goes to Kafka of a row. Its headers are made when the client takes them over, and not kept: those of a whole
    round are ten thousand objects, and Python looks for garbage among all that there are."""

    __slots__ = ("_row", "key", "topic", "value")

    def __init__(self, row: WaitingRow) -> None:
        self._row = row
        self.topic, self.key, self.value = row.topic, row.key, row.value

    @property
    def headers(self) -> Headers:
        """With the row's id, by which readers can tell a late duplicate."""
        headers = self._row.record_headers
        headers.append((SEQUENCE_HEADER, b"%019d" % self._row.id))
        return headers


def _send_alone(suspects: Sequence[WaitingRow], sending: Sending) -> None:
    """Send the rows one in flight at a time, because a refused row fails its whole batch.

    After a refused row, no more of its key: the next of them may not be in Kafka before it is committed that this one
    is set aside. If that fails, the row is sent again, and Kafka may take it by then.
    """
    refused_keys: set[tuple[str, bytes | None]] = set()
    deadline = time.monotonic() + ALONE_WAIT
    try:
        producer = Producer(config.producer_options(gapless=False))
    except BrokerUnavailable as error:  # raised, it would have the acknowledged rows sent again
        sending.unanswered = str(error)
        return
    try:
        producer.connect(ALONE_WAIT)
        for row in suspects:
            if (row.topic, row.key) in refused_keys:
                continue
            seconds_left = deadline - time.monotonic()
            if seconds_left <= 0:
                break
            deliveries = producer.send([(row.id, _RecordOfRow(row))], seconds_left)
            sending.acknowledged += deliveries.acknowledged
            sending.refused |= deliveries.row_errors
            if deliveries.row_errors and row.key is not None:
                refused_keys.add((row.topic, row.key))
            if deliveries.failure and not deliveries.row_errors:
                sending.unanswered = deliveries.failure
                break
    except BrokerUnavailable as error:
        sending.unanswered = str(error)
    finally:
        producer.discard()


def _suspects(rows: Sequence[WaitingRow], deliveries: Deliveries) -> list[WaitingRow]:
    """The rows of each lane with a refused row, from the first not acknowledged up to the last refused."""
    last_refused = {row.lane: row.id for row in rows if row.id in deliveries.row_errors}
    acknowledged = set(deliveries.acknowledged)
    return [row for row in rows if row.id <= last_refused.get(row.lane, 0) and row.id not in acknowledged]
