"""Events that Kafka has deleted before their group got them: nothing else would tell of them.

A consumer goes on with the oldest event that is left. All that shows is a jump in the offsets, as there is one where a
transaction has ended or a topic is compacted, too. But what was deleted lies before the partition's begin, which each
answer to a fetch tells: so the client knows it from when it has delivered what comes behind the jump.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from django_events import metrics
from django_events.consuming.naming import fields_of_place
from django_events.consuming.offsets import Progress
from django_events.handlers import ConsumerGroup
from django_events.kafka.record import Partition

logger = logging.getLogger("django_events.group")

REMEMBERED = 30.0
"""Seconds for which a jump is looked at again if the client does not know the begin, as after an error. Much longer,
and what was deleted since would count for a jump that was none."""


class _Jump(NamedTuple):
    partition: Partition
    begin: int
    """The first offset that was not read."""
    end: int
    """The first that was."""
    noticed: float
    """The moment, of time.monotonic."""


class Deletions:
    """What one group has missed. Used by its thread alone."""

    def __init__(self, group: ConsumerGroup) -> None:
        self._group = group.name
        self._jumps: list[_Jump] = []
        for topic in group.sources:  # a counter that appears with its first count shows Prometheus no increase
            metrics.MISSED.of(group.name, topic).add(0)

    def look(self, partitions: Mapping[Partition, Progress], known_begin: Callable[[Partition], int]) -> None:
        """Log, and count, what was deleted. To be called once a second, and before partitions are given up;
        ``known_begin`` is the first offset that a partition has, below zero where that is not known."""
        now = time.monotonic()
        for partition, progress in partitions.items():
            if found := progress.take_widest_jump():
                self._jumps.append(_Jump(partition, *found, now))
        jumps, self._jumps = self._jumps, []
        for jump in jumps:
            begin = known_begin(jump.partition)
            if begin > jump.begin:
                self._tell(jump, min(begin, jump.end))
            elif begin < 0 and now - jump.noticed < REMEMBERED:
                self._jumps.append(jump)

    def _tell(self, jump: _Jump, end: int) -> None:
        metrics.MISSED.of(self._group, jump.partition.topic).add(end - jump.begin)
        logger.error(
            "Group %s has missed up to %d events of %s, offsets %d to %d: Kafka had deleted them before they were "
            "read. Have the topic keep events for longer (retention.ms, retention.bytes), or the group handle them "
            "sooner",
            self._group,
            end - jump.begin,
            jump.partition,
            jump.begin,
            end - 1,
            extra=fields_of_place(jump.partition, jump.begin),
        )
