"""From which partitions a group fetches nothing, because too much of them, or of the whole group, is in hand."""

from collections.abc import Iterable, Mapping

from django_events.consuming.offsets import Progress
from django_events.kafka.consumer import Consumer
from django_events.kafka.record import Partition


class Pauses:
    """A partition is paused by itself; the group pauses all. Fetching goes on at half of what is too much. Used by the
    group's thread alone."""

    def __init__(self, in_hand_of_partition: int, active: int) -> None:
        self._in_hand_of_partition = in_hand_of_partition
        self._active = active
        self._paused: set[Partition] = set()
        self._all_paused = False

    def settle(self, consumer: Consumer, partitions: Iterable[Partition]) -> None:
        """Set what newly assigned partitions fetch: librdkafka may still have them paused from an earlier time."""
        for partition in partitions:
            is_paused = self._all_paused or partition in self._paused
            (consumer.pause if is_paused else consumer.resume)(partition)

    def took_on(
        self, consumer: Consumer, progress: Progress, active: int, all_ours: Mapping[Partition, object]
    ) -> None:
        """A record of this partition was taken on; so many works of the group are active now."""
        if progress.in_hand >= self._in_hand_of_partition and progress.partition not in self._paused:
            self._paused.add(progress.partition)
            consumer.pause(progress.partition)
        if active >= self._active and not self._all_paused:
            self._all_paused = True
            for partition in all_ours.keys() - self._paused:
                consumer.pause(partition)

    def finished(self, consumer: Consumer, progress: Progress) -> None:
        """A record of this partition is done with."""
        if progress.partition in self._paused and progress.in_hand <= self._in_hand_of_partition // 2:
            self._paused.discard(progress.partition)
            if not self._all_paused:
                consumer.resume(progress.partition)

    def resume_all_if_few(self, consumer: Consumer, active: int, all_ours: Mapping[Partition, object]) -> None:
        """Works were handled, wait for a retry, or are not ours any more: so many are active now."""
        if self._all_paused and active <= self._active // 2:
            self._all_paused = False
            for partition in all_ours.keys() - self._paused:
                consumer.resume(partition)

    def forget(self, partition: Partition) -> None:
        """The partition is not ours any more."""
        self._paused.discard(partition)
