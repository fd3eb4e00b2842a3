"""Of which topics a partition cannot be read at present, because its leader is not reached, and since when.

What comes of other brokers, heartbeats above all, says nothing of these.
"""

import logging
import time
from collections.abc import Collection, Mapping

from django_events.kafka.record import Partition

logger = logging.getLogger("django_events.broadcast")


class Reach:
    """Written by the reader's thread; ``seconds_without`` may be asked by any."""

    def __init__(self) -> None:
        self._cut_off: Mapping[str, float] = {}
        """By topic, since which moment (time.monotonic)."""

    def note(self, cut_off: Collection[Partition] | None, now: float) -> None:
        """The leaders of these partitions are not reached; None if nobody knows. Said when it changes."""
        if cut_off is None:
            return
        topics = {each.topic for each in cut_off}
        for topic in sorted(topics - self._cut_off.keys()):
            logger.warning("The reader of broadcast events does not reach the leader of a partition of %s", topic)
        for topic in sorted(self._cut_off.keys() - topics):
            logger.warning("The reader of broadcast events reaches all leaders of %s again", topic)
        self._cut_off = {topic: self._cut_off.get(topic, now) for topic in topics}

    def seconds_without(self, topics: Collection[str]) -> float:
        """For how long a partition of one of these topics has been out of reach; 0 if none is."""
        cut_off = self._cut_off
        since = [cut_off[topic] for topic in topics if topic in cut_off]
        return max(time.monotonic() - min(since), 0.0) if since else 0.0
