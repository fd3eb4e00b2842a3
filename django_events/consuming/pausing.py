"""From which partitions a group fetches nothing, because too much of them, or of the whole group, is in hand."""

from collections.abc import Collection, Iterable, Mapping

from django_events.consuming.offsets import Progress
from django_events.kafka.consumer import Consumer
from django_events.kafka.record import Partition

STILL = 0.5
"""Seconds for which a group polls nothing where nothing is to be fetched, before it pauses.

A pause is dear: librdkafka throws away what it has fetched ahead, and may take half a second until it fetches again.
Quick handlers are done with all they have by then. Callbacks of a rebalance come later by as much.
"""

STILL_BESIDE_OTHERS = 0.1
"""Likewise where there are partitions to be fetched beside those of which too much is in hand. librdkafka gives a long
run of each partition, so that one after the other is too much for a moment."""

IN_VAIN = 5.0
"""Seconds for which a partition is paused at once, because it was waited for in vain."""


class Pauses:
    """Partitions of which too much is in hand are paused for the sake of others; fetching goes on at half of it. Before
    that nothing is polled for a while, and all may be well again. Used by the group's thread alone."""

    def __init__(self, in_hand_of_partition: int, active: int) -> None:
        self._in_hand_of_partition = in_hand_of_partition
        self._active = active
        self._full: set[Partition] = set()
        """Too much of them is in hand."""
        self._is_all_full = False
        """Too much of the group is active."""
        self._paused: set[Partition] = set()
        self._still_since: float | None = None
        """The moment (time.monotonic) since which nothing is polled, instead of a pause."""
        self._at_once_until: dict[Partition, float] = {}
        """Until which moment a partition is paused without a wait."""

    def settle(self, consumer: Consumer, partitions: Iterable[Partition]) -> None:
        """Set what newly assigned partitions fetch: librdkafka may still have them paused from an earlier time."""
        for partition in partitions:
            (consumer.pause if partition in self._paused else consumer.resume)(partition)

    def count(self, ours: Collection[Partition]) -> int:
        """Of how many of these partitions nothing more is to be taken at present. Other threads may call it."""
        return len(ours) if self._is_all_full else sum(partition in self._full for partition in ours)

    def took_on(self, progress: Progress, active: int) -> bool:
        """A record of this partition was taken on; so many works are active in the group. Whether it is too much."""
        if progress.in_hand >= self._in_hand_of_partition:
            self._full.add(progress.partition)
        self._is_all_full |= active >= self._active
        return self._is_all_full or (bool(self._full) and progress.partition in self._full)

    def may_poll(
        self, consumer: Consumer, ours: Mapping[Partition, object], active: int, now: float, *, is_idle: bool
    ) -> bool:
        """Whether to poll, with everything paused that is to give nothing; so many works of the group are active.
        ``is_idle``: whether nothing runs that could be done soon."""
        if self._is_all_full and active <= self._active // 2:
            self._is_all_full = False
            for partition in self._paused - self._full:
                self._resume(consumer, partition)
        full = ours.keys() if self._is_all_full else ours.keys() & self._full
        to_pause = full - self._paused
        if to_pause and full == ours.keys() and not self._has_waited(STILL, now):
            return False
        if to_pause and full < ours.keys() and not is_idle and not self._has_waited_for(to_pause, now):
            return False
        self._still_since = None
        for partition in to_pause:
            self._paused.add(partition)
            consumer.pause(partition)
        return True

    def _has_waited_for(self, to_pause: Collection[Partition], now: float) -> bool:
        """Whether it was waited long enough for these, although there are others."""
        if any(now < self._at_once_until.get(partition, now) for partition in to_pause):
            return True
        if not self._has_waited(STILL_BESIDE_OTHERS, now):
            return False
        self._at_once_until.update(dict.fromkeys(to_pause, now + IN_VAIN))
        return True

    def _has_waited(self, seconds: float, now: float) -> bool:
        """Whether nothing has been polled for so long; begins the wait, if it has not begun."""
        if self._still_since is None:
            self._still_since = now
        return now - self._still_since >= seconds

    def finished(self, consumer: Consumer, progress: Progress) -> None:
        """A record of this partition is done with."""
        if self._full and progress.partition in self._full and progress.in_hand <= self._in_hand_of_partition // 2:
            self._full.discard(progress.partition)
            if progress.partition in self._paused and not self._is_all_full:
                self._resume(consumer, progress.partition)

    def forget(self, partition: Partition) -> None:
        """The partition is not ours any more."""
        self._full.discard(partition)
        self._paused.discard(partition)
        self._at_once_until.pop(partition, None)

    def _resume(self, consumer: Consumer, partition: Partition) -> None:
        self._paused.discard(partition)
        consumer.resume(partition)
