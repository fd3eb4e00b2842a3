"""How old what a reader knows is at most: the time since the sending of the newest record that it has read.

Where it has read to the end of a partition, that is the moment of the reading, by this machine's clock alone. While
much comes in, that end moves on, and the record's own time counts, unless it is in the future: anybody may write any.
"""

import time

from django_events.kafka.record import Partition, ReceivedRecord


class Freshness:
    """Moments are of ``time.monotonic``. Written by the reader's thread; ``latency`` may be asked by any."""

    def __init__(self) -> None:
        self.sent = float("-inf")
        """When the newest record that was read was sent, or later if nothing was sent since."""
        self._last: tuple[Partition, float] | None = None
        """Where the last record came from, and when it was read."""
        self._was_end = False
        """Whether nothing comes after it there."""

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
        self._last, self._was_end = (record.partition, now), False
        if (age := record.age(time.time())) is not None and age >= 0:
            self.sent = max(self.sent, now - age)

    def at_end(self, partition: Partition) -> None:
        """This partition is read to its end."""
        if self._last and self._last[0] == partition:
            self._was_end = True

    def nothing_more(self) -> None:
        """Nothing waits to be read, of no partition. If the last record was the last of its own, nothing is missing."""
        if self._last and self._was_end:
            self.complete(self._last[1])
            self._last, self._was_end = None, False
