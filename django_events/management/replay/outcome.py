"""How far a replay has come, and with what."""

from collections import Counter
from collections.abc import Sequence

from django_events.consuming.replay import Replayed, Verdict
from django_events.kafka.spans import Span


class Outcome:
    """Counts records and keeps their places. Owned by one thread."""

    def __init__(self, wanted: Sequence[Span]) -> None:
        self.counts: Counter[Verdict] = Counter()
        self._left = {span.partition: span for span in wanted if span.start < span.end}

    @property
    def total(self) -> int:
        return self.counts.total()

    @property
    def left(self) -> list[Span]:
        """What nothing has become of yet."""
        return [*self._left.values()]

    def add(self, replayed: Replayed) -> None:
        self.counts[replayed.verdict] += 1
        partition, offset = replayed.record[:2]
        span = self._left[partition]._replace(start=offset + 1)
        self._left[partition] = span
        if span.start >= span.end:
            del self._left[partition]

    def reached_the_end(self) -> None:
        """All is read: what is left are holes."""
        self._left.clear()
