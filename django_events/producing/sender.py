"""Rounds: lock lanes, read their oldest rows, send them, wait, delete what Kafka has acknowledged, commit.

The order of a key rests on three things here: a lane is read without gaps from its oldest row, by a statement that
begins after the lane is locked; one idempotent producer sends what was read in that order and stops at the first
failure; and a row is deleted only when it is acknowledged. The lock only saves duplicates.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime

from django.db import connections, transaction

from django_events import crash_points, signals
from django_events.cloudevents import SEQUENCE_HEADER
from django_events.exceptions import BrokerUnavailable
from django_events.kafka import config, topics
from django_events.kafka.producer import Deliveries, Producer
from django_events.models import LANES_PER_TOPIC, Cut, Lane, LaneName, OutgoingEvent, WaitingRow
from django_events.producing.batch import BatchSize
from django_events.producing.holds import Holds
from django_events.producing.lanes import WaitingLanes

WAIT = 5.0
"""Seconds that a round waits for Kafka at most, with its lanes locked."""

CONNECT_WAIT = 5.0
"""Seconds that Kafka has to answer a question about its topics. No lane is locked then."""

ROWS = 1_000
"""Rows that one round reads, shared among its lanes."""

ROWS_OF_A_LANE = 50
"""The smallest share of a lane: a round takes no more lanes than have it."""

SIZE = 16_000_000
"""Bytes that one round reads, shared likewise; the first row of each lane is read whatever its size."""

LANES_FORGOTTEN_AFTER = 60.0
"""Seconds after which a topic's lanes are added again: a flushed test database loses them."""

BUSY_CHECKED_EVERY = 1.0
"""Seconds after which a lane that cannot be locked is suspected to be no row of the lanes' table."""


@dataclass(slots=True)
class RoundResult:
    """What one round did."""

    sent: int = 0
    """Rows that Kafka acknowledged and that are gone from the outbox."""
    busy: Sequence[LaneName] = ()
    """Lanes that somebody else holds."""
    unanswered: str | None = None
    """What went wrong, if Kafka neither took nor refused some rows: an outage. They are still in the outbox."""


@dataclass(slots=True)
class _Sending:
    """What became of the rows of one round."""

    acknowledged: list[int]
    refused: dict[LaneName, str] = field(default_factory=dict)
    """Lanes whose first row Kafka refuses even when it is sent alone, with the reason."""
    topic_errors: dict[str, str] = field(default_factory=dict)
    unanswered: str | None = None


class Sender:
    """Sends the rows of waiting lanes to Kafka. Owned by one thread, not thread-safe; every wait is bounded.

    It keeps one producer and one database connection per database for as long as they work.
    """

    def __init__(self, rows: int = ROWS, lanes: int | None = None) -> None:
        """A round reads ``rows`` rows of ``lanes`` lanes at most; None: of as many as get a good share of the rows."""
        self._batch = BatchSize(rows)
        self._lanes = max(1, min(lanes or rows, rows // ROWS_OF_A_LANE))
        self._holds = Holds()
        self._lanes_added: dict[tuple[str, str], float] = {}
        self._busy_checked = time.monotonic()
        self._producer: Producer | None = None

    def connect(self) -> Producer:
        """A producer that Kafka has answered. Raises BrokerUnavailable, or SettingsError for unsafe options."""
        if self._producer is None:
            producer = Producer(config.producer_options())
            producer.connect(CONNECT_WAIT)
            self._producer = producer
        return self._producer

    def close(self) -> None:
        """Let go of the producer, without waiting. The next round makes a new one."""
        producer, self._producer = self._producer, None
        if producer:
            producer.discard()

    def round(self, waiting: WaitingLanes, using: str) -> RoundResult | None:
        """Send the oldest rows of some of the waiting lanes; None if none of them can be tried now.

        Raises BrokerUnavailable and Django's database errors. Then, and after a failure, all lanes with rows that
        were not sent are waiting again.
        """
        lanes = self._sendable(waiting)
        if not lanes:
            return None
        self.add_lanes({lane.topic for lane in lanes}, using)
        locked: list[LaneName] = []
        try:
            with round_transaction(using):
                OutgoingEvent.objects.prepare_round(using, WAIT)
                locked = Lane.objects.lock(lanes, using)
                if crash_points.armed:
                    crash_points.reached("lanes-locked")
                waiting.remove(locked)
                cut = self._cut(locked)
                rows = self._read(locked, cut, using)
                sending = self._send(rows)
                self._delete(sending.acknowledged, using)
        except BaseException:
            waiting.add(locked)
            raise
        waiting.add(_unfinished(rows, sending, cut))
        self._note(rows, sending)
        _tell(rows, sending, using)
        return RoundResult(len(sending.acknowledged), self._busy(lanes, locked, using), sending.unanswered)

    def add_lanes(self, topics: Iterable[str], using: str) -> None:
        """Add the lanes of these topics to the database, unless we know that they are there."""
        now = time.monotonic()
        missing = [topic for topic in sorted(topics) if self._lanes_added.get((using, topic), 0.0) <= now]
        if missing:
            lanes = [LaneName(topic, number) for topic in missing for number in range(LANES_PER_TOPIC)]
            Lane.objects.add_missing(lanes, using)
            self._lanes_added.update({(using, topic): now + LANES_FORGOTTEN_AFTER for topic in missing})

    def next_due(self, waiting: WaitingLanes) -> float:
        """The moment (time.monotonic) at which the first of the waiting lanes may be tried."""
        return self._holds.next_due(waiting.first(len(waiting)))

    # ── before the transaction ───────────────────────────────────────────────────────────────────────────────────

    def _sendable(self, waiting: WaitingLanes) -> list[LaneName]:
        """Lanes to try now: not held back, and of topics that Kafka has just answered for."""
        while True:
            everything = waiting.first(len(waiting))
            lanes = waiting.first(self._lanes, without=self._holds.held(everything))
            if not lanes:
                return []
            producer = self.connect()
            unknown = {lane.topic for lane in lanes if not producer.knows(lane.topic)}
            if unknown:
                self._look_for(unknown, producer)
            if known := [lane for lane in lanes if producer.knows(lane.topic)]:
                return known

    def _look_for(self, unknown: set[str], producer: Producer) -> None:
        """Create topics that may be created; hold back those that Kafka still does not have."""
        deadline = time.monotonic() + CONNECT_WAIT
        created = topics.create_missing(unknown, CONNECT_WAIT)
        producer.connect(CONNECT_WAIT)
        while not all(map(producer.knows, created)) and time.monotonic() < deadline:
            time.sleep(0.05)  # a new topic takes a moment until every broker knows it
            producer.connect(CONNECT_WAIT)
        for topic in sorted(unknown):
            if not producer.knows(topic):
                self._holds.hold_topic(topic, "Kafka does not have it, and it was not created")

    def _cut(self, locked: Sequence[LaneName]) -> Cut:
        shares = max(len(locked), 1)
        return Cut(rows=max(self._batch.rows // shares, 1), size=SIZE // shares)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _read(self, locked: Sequence[LaneName], cut: Cut, using: str) -> list[WaitingRow]:
        if not locked:
            return []
        started = time.monotonic()
        rows = OutgoingEvent.objects.read(locked, cut, using)
        if len(rows) >= cut.rows * len(locked):  # a full read: the rest says nothing about the cost of a row
            self._batch.read_took(time.monotonic() - started)
        for row in rows:
            row.record.headers.append((SEQUENCE_HEADER, b"%019d" % row.id))
        return rows

    def _send(self, rows: Sequence[WaitingRow]) -> _Sending:
        if not rows:
            return _Sending([])
        deadline = time.monotonic() + WAIT
        producer = self.connect()
        deliveries = producer.send(((row.id, row.record) for row in rows), WAIT)
        sending = _Sending(deliveries.acknowledged, topic_errors=deliveries.topic_errors)
        if producer.spent:
            self.close()
        if deliveries.row_errors:
            self._send_singly(_suspects(rows, deliveries), sending, deadline)
        elif not deliveries.topic_errors:
            sending.unanswered = deliveries.failure
        return sending

    def _send_singly(self, suspects: Sequence[WaitingRow], sending: _Sending, deadline: float) -> None:
        """Find the rows that Kafka refuses: one in flight at a time, because a refused row fails its whole batch."""
        try:
            producer = Producer(config.producer_options(gapless=False))
            producer.connect(max(deadline - time.monotonic(), 0.1))
        except BrokerUnavailable as error:
            sending.unanswered = str(error)
            return
        for row in suspects:
            seconds_left = deadline - time.monotonic()
            if row.lane in sending.refused or seconds_left <= 0:
                continue
            deliveries = producer.send([(row.id, row.record)], seconds_left)
            sending.acknowledged += deliveries.acknowledged
            if reason := deliveries.row_errors.get(row.id):
                sending.refused[row.lane] = f"the event {row.event_id} (row {row.id}) is refused: {reason}"
            elif deliveries.failure:
                sending.unanswered = deliveries.failure
                break
        producer.discard()

    def _delete(self, acknowledged: Sequence[int], using: str) -> None:
        if not acknowledged:
            return
        if crash_points.armed:
            crash_points.reached("acknowledged-not-deleted")
        OutgoingEvent.objects.delete_acknowledged(acknowledged, using)
        if crash_points.armed:
            crash_points.reached("deleted-not-committed")

    # ── after the commit ─────────────────────────────────────────────────────────────────────────────────────────

    def _note(self, rows: Sequence[WaitingRow], sending: _Sending) -> None:
        """Hold back what was refused; what was taken is no longer held."""
        acknowledged = set(sending.acknowledged)
        self._holds.release({row.lane for row in rows if row.id in acknowledged} - sending.refused.keys())
        for lane, reason in sending.refused.items():
            self._holds.hold_lane(lane, reason)
        for topic, reason in sending.topic_errors.items():
            self._holds.hold_topic(topic, reason)

    def _busy(self, lanes: Sequence[LaneName], locked: Sequence[LaneName], using: str) -> list[LaneName]:
        """Lanes that could not be locked. Now and then they are added again, in case that they were deleted."""
        busy = sorted(set(lanes) - set(locked))
        if busy and time.monotonic() - self._busy_checked > BUSY_CHECKED_EVERY:
            self._busy_checked = time.monotonic()
            for lane in busy:
                self._lanes_added.pop((using, lane.topic), None)
        return busy


def round_transaction(using: str) -> AbstractContextManager[object]:
    """One short transaction; none where it would lock the whole database while Kafka is waited for (SQLite)."""
    if connections[using].features.has_select_for_update_skip_locked:
        return transaction.atomic(using=using, durable=True)
    return nullcontext()


def _suspects(rows: Sequence[WaitingRow], deliveries: Deliveries) -> list[WaitingRow]:
    """The rows of each lane with a refused row, from the first not acknowledged up to the last refused."""
    last_refused = {row.lane: row.id for row in rows if row.id in deliveries.row_errors}
    acknowledged = set(deliveries.acknowledged)
    return [row for row in rows if row.id <= last_refused.get(row.lane, 0) and row.id not in acknowledged]


def _unfinished(rows: Sequence[WaitingRow], sending: _Sending, cut: Cut) -> set[LaneName]:
    """Lanes that still have rows, or may have: not all were acknowledged, or the read was cut short."""
    acknowledged = set(sending.acknowledged)
    count: Counter[LaneName] = Counter()
    size: Counter[LaneName] = Counter()
    for row in rows:
        count[row.lane] += 1
        size[row.lane] += row.size
    refused = {row.lane for row in rows if row.id not in acknowledged}
    return refused | {lane for lane in count if count[lane] >= cut.rows or size[lane] >= cut.size}


def _tell(rows: Sequence[WaitingRow], sending: _Sending, using: str) -> None:
    if not signals.event_sent.has_listeners():
        return
    acknowledged = set(sending.acknowledged)
    for row in rows:
        if row.id in acknowledged:
            signals.event_sent.send_robust(
                sender=row.record.topic,
                key=row.record.key,
                event_id=row.event_id,
                saved_at=datetime.fromtimestamp(row.saved_at, UTC),
                using=using,
            )
