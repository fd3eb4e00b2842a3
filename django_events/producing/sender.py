"""Rounds: lock lanes, read their oldest rows, send them, wait, delete what Kafka has acknowledged, commit.

The order of a key rests on three things here: a lane is read without gaps from its oldest row, by a statement that
begins after the lane is locked; one idempotent producer sends what was read in that order and stops at the first
failure, be it for good: what follows a refused row in its key is sent after the commit that sets it aside; and a row is
deleted only when it is acknowledged. The lock only saves duplicates.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter

from django.db import connections, transaction

from django_events import crash_points, repeats, signals
from django_events.log_fields import fields
from django_events.models import LANES_PER_TOPIC, Cut, Lane, LaneName, OutgoingEvent, WaitingRow
from django_events.producing.batch import BatchSize
from django_events.producing.courier import Courier, Sending
from django_events.producing.holds import INCOMPLETE, REFUSED, SILENT, Holds
from django_events.producing.lanes import WaitingLanes
from django_events.producing.metrics import Method, count_round
from django_events.producing.tracing import round_done

logger = logging.getLogger("django_events.relay")

ROWS = 1_000
"""Rows that one round reads, shared among its lanes."""

ROWS_OF_A_LANE = 50
"""The smallest share of a lane: a round takes no more lanes than have it."""

SIZE = 16_000_000
"""Bytes that one round reads, shared likewise; the first row of each lane is read whatever its size."""

LANES_OFFERED = 100
"""Lanes of which a round locks the first that are free: one that others hold costs no round of its own."""

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
    """Lanes that somebody else holds, as far as they were tried."""
    unanswered: str | None = None
    """What went wrong, if Kafka neither took nor refused some rows. They are still in the outbox."""
    is_held: bool = False
    """Whether the topics of these rows are held back, because Kafka itself answers."""

    @property
    def is_outage(self) -> bool:
        """Whether Kafka took nothing, for a reason that is not about topics."""
        return bool(self.unanswered) and not self.sent and not self.is_held


class Sender:
    """Sends the rows of waiting lanes to Kafka. Owned by one thread, not thread-safe; every wait is bounded.

    It keeps one producer and one database connection per database for as long as they work.
    """

    def __init__(self, rows: int = ROWS, *, method: Method = "relay", holds: Holds | None = None) -> None:
        """A round reads ``rows`` rows at most. ``method`` is what metrics call it. ``holds`` may be another sender's,
        too."""
        self._method: Method = method
        self._batch = BatchSize(rows)
        self._lanes = max(1, rows // ROWS_OF_A_LANE)
        self._holds = holds or Holds()
        self._lanes_added: dict[tuple[str, str], float] = {}
        self._busy_checked = time.monotonic()
        self._courier = Courier()

    def connect(self) -> None:
        """Have Kafka answer. Raises BrokerUnavailable, or SettingsError for unsafe options."""
        self._courier.connect()

    def close(self) -> None:
        """Let go of the producer, without waiting. The next round makes a new one."""
        self._courier.close()

    def round(self, waiting: WaitingLanes, using: str, lanes_at_most: int | None = None) -> RoundResult | None:
        """Send the oldest rows of some of the waiting lanes, of as many as get a good share of the rows, or of fewer;
        None if none of them can be tried now.

        Raises BrokerUnavailable and Django's database errors. Then, and after a failure, all lanes with rows that
        were not sent are waiting again.
        """
        lanes = self._sendable(waiting)
        if not lanes:
            return None
        self.add_lanes({lane.topic for lane in lanes}, using)
        at_most = min(self._lanes, lanes_at_most or self._lanes)
        began_at = time.time_ns()
        locked: list[LaneName] = []
        try:
            with round_transaction(using):
                locked = Lane.objects.lock(lanes, at_most, using, wait=self._courier.longest_wait)
                if crash_points.armed:
                    crash_points.reached("lanes-locked")
                waiting.remove(locked)
                cut = self._cut(locked)
                rows = self._read(locked, cut, using)
                sending = self._courier.send(rows) if rows else Sending()
                self._write_down(sending, using)
        except BaseException:
            waiting.add(locked)
            raise
        waiting.add(_unfinished(rows, sending, cut))
        self._note(rows, sending)
        self._holds.release(_sent_by_others(locked, rows, waiting))
        _tell(rows, sending, using)
        round_done(rows, sending, began_at)
        count_round(self._method, rows, sending, began_at)
        self._look_into_silence(sending)
        return RoundResult(
            sent=len(sending.acknowledged),
            busy=self._busy(lanes, locked, using) if len(locked) < at_most else (),  # else others were not tried
            unanswered=sending.unanswered,
            is_held=bool(sending.silent),
        )

    def add_lanes(self, topics: Iterable[str], using: str) -> None:
        """Add the lanes of these topics to the database, unless we know that they are there."""
        now = time.monotonic()
        missing = [topic for topic in sorted(topics) if self._lanes_added.get((using, topic), 0.0) <= now]
        if missing:
            lanes = [LaneName(topic, number) for topic in missing for number in range(LANES_PER_TOPIC)]
            Lane.objects.add_missing(lanes, using)
            self._lanes_added.update({(using, topic): now + LANES_FORGOTTEN_AFTER for topic in missing})

    @property
    def troubles(self) -> list[str]:
        """Which topics are held back, and why. Other threads may read it."""
        return self._holds.troubles

    def hold_back_only(self, topics: Collection[str]) -> None:
        """Of no other topic anything waits, because others have sent it: so none of them is held back any more."""
        self._holds.keep_only(topics)

    def next_due(self, waiting: WaitingLanes) -> float:
        """The moment (time.monotonic) at which the first of the waiting lanes may be tried."""
        return self._holds.next_due(waiting.first(len(waiting)))

    # ── before the transaction ───────────────────────────────────────────────────────────────────────────────────

    def _sendable(self, waiting: WaitingLanes) -> list[LaneName]:
        """Lanes to try now: not held back, and of topics that Kafka has just answered for."""
        while True:
            everything = waiting.first(len(waiting))
            lanes = waiting.first(LANES_OFFERED, without=self._holds.held(everything))
            problems = self._courier.cannot_send_to({lane.topic for lane in lanes}) if lanes else {}
            for topic, problem in problems.items():
                self._holds.hold(topic, problem, INCOMPLETE)
            sendable = [lane for lane in lanes if lane.topic not in problems]
            if sendable or not lanes:
                return sendable

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
        return rows

    def _write_down(self, sending: Sending, using: str) -> None:
        """Delete what Kafka has; set aside what it refuses."""
        if sending.refused:
            OutgoingEvent.objects.set_aside(sending.refused, using)
        if not sending.acknowledged:
            return
        if crash_points.armed:
            crash_points.reached("acknowledged-not-deleted")
        OutgoingEvent.objects.delete_acknowledged(sending.acknowledged, using)
        if crash_points.armed:
            crash_points.reached("deleted-not-committed")

    # ── after the commit ─────────────────────────────────────────────────────────────────────────────────────────

    def _note(self, rows: Sequence[WaitingRow], sending: Sending) -> None:
        """Hold back topics that were refused; what was taken is no longer held."""
        acknowledged = set(sending.acknowledged)
        taken = {row.topic for row in rows if row.id in acknowledged}
        self._holds.release(taken - sending.topic_errors.keys() - sending.silent)
        for topic, reason in sending.topic_errors.items():
            self._holds.hold(topic, reason, REFUSED)

    def _look_into_silence(self, sending: Sending) -> None:
        """If rows have no answer: raises BrokerUnavailable if Kafka is away; else it is about their topics."""
        if sending.silent or (sending.unanswered and not sending.acknowledged):
            self._courier.connect()  # if Kafka is away, this says so, and why; the round knows only what came of it
        for topic in sending.silent:
            self._holds.hold(topic, f"Kafka answers, but not about its events: {sending.unanswered}", SILENT)
        if sending.silent:
            self._courier.look_into_silence(sending.silent)

    def _busy(self, lanes: Sequence[LaneName], locked: Sequence[LaneName], using: str) -> list[LaneName]:
        """Lanes that could not be locked. Now and then they are added again, in case that they were deleted."""
        busy = sorted(set(lanes) - set(locked))
        if busy and crash_points.armed:
            crash_points.reached("lane-found-taken")
        if busy and time.monotonic() - self._busy_checked > BUSY_CHECKED_EVERY:
            self._busy_checked = time.monotonic()
            for lane in busy:
                self._lanes_added.pop((using, lane.topic), None)
        return busy


def can_lock_rows(using: str) -> bool:
    """Whether several senders can share the outbox of this database."""
    return connections[using].features.has_select_for_update_skip_locked


def round_transaction(using: str) -> AbstractContextManager[object]:
    """One short transaction; none where it would lock the whole database while Kafka is waited for (SQLite)."""
    if can_lock_rows(using):
        return transaction.atomic(using=using, durable=True)
    return nullcontext()


def _sent_by_others(locked: Sequence[LaneName], rows: Sequence[WaitingRow], waiting: WaitingLanes) -> set[str]:
    """The topics of locked lanes that had no rows any more, if no other of their lanes waits either."""
    had_rows = {row.topic for row in rows}
    gone = {lane.topic for lane in locked} - had_rows
    return gone - {lane.topic for lane in waiting.first(len(waiting))} if gone else gone


def _unfinished(rows: Sequence[WaitingRow], sending: Sending, cut: Cut) -> set[LaneName]:
    """Lanes that still have rows, or may have: not all are done with, or the read was cut short."""
    done = {*sending.acknowledged, *sending.refused}
    left = {row.lane for row in rows if row.id not in done}
    rows_of = Counter(map(_lane, rows))
    size_of: Counter[tuple[str, int]] = Counter()
    if sum(map(_size, rows)) >= cut.size:  # else no lane has so much
        for row in rows:
            size_of[_lane(row)] += row.size
    return left | {LaneName(*lane) for lane in rows_of if rows_of[lane] >= cut.rows or size_of[lane] >= cut.size}


_lane: Callable[[WaitingRow], tuple[str, int]] = attrgetter("topic", "number")
_size: Callable[[WaitingRow], int] = attrgetter("size")


def _tell(rows: Sequence[WaitingRow], sending: Sending, using: str) -> None:
    if sending.refused:
        for row in rows:
            if reason := sending.refused.get(row.id):
                _tell_set_aside(row, reason, using)
    if not signals.event_sent.has_listeners():
        return
    acknowledged = set(sending.acknowledged)
    for row in rows:
        if row.id in acknowledged:
            signals.tell(
                signals.event_sent,
                row.topic,
                key=row.key,
                event_id=row.event_id,
                saved_at=datetime.fromtimestamp(row.saved_at, UTC),
                using=using,
            )


def _tell_set_aside(row: WaitingRow, reason: str, using: str) -> None:
    repeats.log(
        logger,
        logging.ERROR,
        (row.topic, using),
        "The event %s of topic %s (row %d) is set aside, because Kafka refuses it: %s. Nothing waits for it. Send it "
        "again or discard it in the admin of outgoing events",
        row.event_id,
        row.topic,
        row.id,
        reason,
        extra=fields(event=row.event_id, topic=row.topic),
    )
    signals.tell(signals.event_set_aside, row.topic, key=row.key, event_id=row.event_id, error=reason, using=using)
