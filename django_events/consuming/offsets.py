"""How far one partition is handled: what may be committed, and how much is in hand.

No Kafka and no threads here: the group's thread owns it.
"""

import time
from collections import deque

from django_events.consuming.pulse import Pulse
from django_events.kafka.record import Partition


class InHand:
    """One record that was delivered and that some handlers are not done with."""

    __slots__ = ("handlers_left", "offset", "since", "written")

    def __init__(self, offset: int, handlers: int, written: int | None) -> None:
        self.offset = offset
        self.handlers_left = handlers
        self.written = written
        """The record's time in milliseconds since 1970 (UTC); None if it has none."""
        self.since = time.monotonic()
        """When it was delivered."""


class Progress:
    """The progress in one partition, from its assignment to its revocation; a new assignment gets a new one.

    Offsets have holes (transaction markers, compaction, retention), so what counts is the sequence delivered to us.
    """

    def __init__(self, partition: Partition, pulse: Pulse | None = None, begins_at: int | None = None) -> None:
        """``pulse`` is that of the group's thread; without one it is taken to be steady. ``begins_at``: the offset that
        is read first, where it is known."""
        self.partition = partition
        self._pulse = pulse
        self.draining = False
        """The partition will be given up: no worker begins anything of it."""
        self.ended = False
        """The partition is not ours any more: late results are dropped."""
        self._in_hand: deque[InHand] = deque()
        self._expected = begins_at
        """The offset that comes next if none is left out."""
        self._widest_jump: tuple[int, int] | None = None
        self.next_offset: int | None = None
        """The next offset to read; None until a record is done with."""
        self._committed: int | None = None
        self.moved_at = time.monotonic()
        """When (time.monotonic) the offset last passed a record."""

    @property
    def may_begin(self) -> bool:
        """Whether a worker may begin something of it. Thread-safe."""
        return not (self.draining or self.ended) and (self._pulse is None or self._pulse.is_steady)

    def started(self, offset: int, handlers: int, written: int | None = None) -> InHand:
        """A record was delivered, for this many handlers. ``written``: its time, in milliseconds since 1970."""
        if offset != self._expected:
            self._jumped(offset)
        self._expected = offset + 1
        record = InHand(offset, handlers, written)
        self._in_hand.append(record)
        return record

    def _jumped(self, offset: int) -> None:
        begin, end = self._widest_jump or (0, 0)
        if self._expected is not None and offset - self._expected > end - begin:
            self._widest_jump = self._expected, offset

    def take_widest_jump(self) -> tuple[int, int] | None:
        """The widest range of offsets that was left out since this was asked last: the first that was not delivered,
        and the first that was. Of a compacted topic there are thousands."""
        found, self._widest_jump = self._widest_jump, None
        return found

    def finished(self, record: InHand) -> None:
        """One handler is done with the record for good. The offset passes records that all are done with."""
        record.handlers_left -= 1
        while self._in_hand and not self._in_hand[0].handlers_left:
            self.next_offset = self._in_hand.popleft().offset + 1
            self.moved_at = time.monotonic()

    @property
    def oldest(self) -> InHand | None:
        """The record that the offset passes next."""
        return self._in_hand[0] if self._in_hand else None

    @property
    def in_hand(self) -> int:
        """Records delivered that the offset has not passed."""
        return len(self._in_hand)

    def behind(self, end: int) -> int:
        """How many offsets there are up to the partition's end that are not done with; 0 where nobody knows."""
        at = self._in_hand[0].offset if self._in_hand else self.next_offset
        return 0 if at is None else max(end - at, 0)

    def age(self, now: float) -> float:
        """Seconds since the oldest record in hand was written; 0 if there is none. ``now`` is in seconds since 1970."""
        written = self._in_hand[0].written if self._in_hand else None
        return 0.0 if written is None else max(now - written / 1000, 0.0)

    def committable(self) -> int | None:
        """The next offset to read, if it is not committed yet."""
        return None if self.next_offset == self._committed else self.next_offset

    def committed(self, offset: int | None) -> None:
        """This offset was committed; None if that turned out to be untrue."""
        self._committed = offset
