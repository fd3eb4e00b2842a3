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
"""Seconds after a pause that lasted longer than that wait, for which the partition is paused without one."""


class Pauses:
    """Partitions of which too much is in hand are paused, so that others can be polled, and news of the group; fetching
    goes on at half of it. Before that nothing is polled for a while, and all may be well again. Used by the group's
    thread alone; moments are of ``time.monotonic``."""

    def __init__(self, in_hand_of_partition: int, active: int) -> None:
        self._in_hand_of_partition = in_hand_of_partition
        self._active = active
        self._full: set[Partition] = set()
        """Too much of them is in hand."""
        self._is_all_full = False
        """Too much of the group is active."""
        self._paused: dict[Partition, float] = {}
        """Since when."""
        self._at_once_until: dict[Partition, float] = {}
        """Until when these are paused without a wait."""
        self._polled_at = float("-inf")
        """When it was last said that there may be a poll."""

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
        ``is_idle``: whether nothing runs, so that nothing can be done with soon."""
        if self._is_all_full and active <= self._active // 2:
            self._is_all_full = False
            for partition in self._paused.keys() - self._full:
                self._resume(consumer, partition, now)
        full = ours.keys() if self._is_all_full else ours.keys() & self._full
        to_pause = full - self._paused.keys()
        wait = STILL if full == ours.keys() else self._wait_beside_others(to_pause, now, is_idle=is_idle)
        if to_pause and now - self._polled_at < wait:
            return False
        self._polled_at = now
        for partition in to_pause:
            self._paused[partition] = now
            consumer.pause(partition)
        return True

    def _wait_beside_others(self, to_pause: Collection[Partition], now: float, *, is_idle: bool) -> float:
        """Seconds without a poll before these are paused. None at all if a wait would be in vain for one of them."""
        is_in_vain = is_idle or any(now < self._at_once_until.get(partition, now) for partition in to_pause)
        return 0.0 if is_in_vain else STILL_BESIDE_OTHERS

    def finished(self, consumer: Consumer, progress: Progress, now: float) -> None:
        """A record of this partition is done with."""
        if self._full and progress.partition in self._full and progress.in_hand <= self._in_hand_of_partition // 2:
            self._full.discard(progress.partition)
            if progress.partition in self._paused and not self._is_all_full:
                self._resume(consumer, progress.partition, now)

    def forget(self, partition: Partition) -> None:
        """The partition is not ours any more."""
        self._full.discard(partition)
        self._paused.pop(partition, None)
        self._at_once_until.pop(partition, None)

    def _resume(self, consumer: Consumer, partition: Partition, now: float) -> None:
        if now - self._paused.pop(partition) > STILL_BESIDE_OTHERS:
            self._at_once_until[partition] = now + IN_VAIN
        consumer.resume(partition)
