"""How old what a reader knows is at most: the time since the sending of the newest record that it has read.

Where it has read to the end of a partition, that is the moment of the reading, by this machine's clock alone. While
much comes in, that end moves on, and the record's own time counts, unless it is in the future: anybody may write any.
"""

import time
from collections.abc import Callable

from django_events.kafka.record import Partition, ReceivedRecord


class Freshness:
    """Moments are of ``time.monotonic``. Written by the reader's thread; ``latency`` may be asked by any."""

    def __init__(self) -> None:
        self.sent = float("-inf")
        """When the newest record that was read was sent, or later if nothing was sent since."""
        self._last: tuple[Partition, int, float] | None = None

    @property
    def latency(self) -> float:
        """Seconds since the sending of the newest record that was read; infinite before the first."""
        return time.monotonic() - self.sent

    def complete(self, moment: float) -> None:
        """Everything is read that was sent before this moment."""
        self.sent = max(self.sent, moment)

    def read(self, record: ReceivedRecord) -> None:
        """This record is read."""
        now = time.monotonic()
        self._last = (record.partition, record.offset, now)
        if (age := record.age(time.time())) is not None and age >= 0:
            self.sent = max(self.sent, now - age)

    def nothing_more(self, known_end: Callable[[Partition], int]) -> None:
        """Nothing waits to be read. Where the last record was the last of its partition, nothing is missing there."""
        if self._last is None:
            return
        partition, offset, moment = self._last
        self._last = None
        if offset + 1 >= known_end(partition) > 0:
            self.complete(moment)
