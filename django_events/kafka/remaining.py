"""What a group has still to handle of what topics had at a first look, whichever process handles it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django_events.kafka import names, positions, topics
from django_events.kafka.committed_offsets import CommittedOffsets
from django_events.kafka.oldest_records import OldestRecords
from django_events.kafka.record import Partition
from django_events.kafka.spans import Span

ANSWER = 5.0
"""Seconds that Kafka has for one answer."""

Bounds = tuple[int, int]
"""The offset of a partition's oldest record, and the one after its newest."""


@dataclass(frozen=True, slots=True)
class Left:
    """A partition in which the group has not reached the end yet. Immutable."""

    partition: Partition
    offset: int
    """The next offset that the group has to handle."""
    end: int
    """The offset after the last record that the partition had at the first look."""

    def __str__(self) -> str:
        return f"{self.partition} at {self.offset} of {self.end}"


class Remaining:
    """Asks for offsets and, where they stand still, looks for records; joins no group and changes nothing.

    Used by one thread. Each look blocks while Kafka answers, for seconds; ``close`` it.
    """

    def __init__(self, group: str, of: Iterable[str]) -> None:
        """``of``: the topics. Where the group has not begun, nothing is handled, wherever it will begin."""
        self._topics = list(of)
        self._admin, self._last_error = topics.client()
        self._records = OldestRecords(group)
        self._offsets = CommittedOffsets(group)
        self._bounds: dict[Partition, Bounds] | None = None
        """Of the partitions whose end at the first look is not known to be reached."""
        self._before: dict[Partition, int] = {}
        """Where the group was at the look before."""
        self._at_a_record: dict[Partition, int] = {}
        """Where it was known to have a record before it."""
        self.missing: list[str] = []
        """The topics that Kafka does not have; known after the first look."""

    def look(self) -> list[Left]:
        """Where the group has not reached the end yet. Raises BrokerUnavailable or KafkaRefused."""
        if self._bounds is None:
            self._bounds = self._first_bounds()
        behind = {each: at for each, at in self._next_offsets(self._bounds).items() if at < self._bounds[each][1]}
        at_the_end = self._without_records(behind, self._bounds)
        self._before = behind
        left = {each: at for each, at in behind.items() if each not in at_the_end}
        self._bounds = {each: self._bounds[each] for each in left}
        return [Left(each, at, self._bounds[each][1]) for each, at in left.items()]

    def close(self) -> None:
        self._records.close()
        self._offsets.close()

    def _first_bounds(self) -> dict[Partition, Bounds]:
        cluster = topics.metadata(self._admin, self._last_error, ANSWER)
        self.missing = [topic for topic in self._topics if names.on_wire(topic) not in cluster.topics]
        there = [topic for topic in self._topics if topic not in self.missing]
        partitions = [each for topic in there for each in positions.partitions_of(topic, cluster)]
        found = positions.ends(partitions, self._admin, self._last_error, ANSWER)
        return {each: (first, end) for each, (first, end) in found.items() if end > first}

    def _next_offsets(self, bounds: Mapping[Partition, Bounds]) -> dict[Partition, int]:
        """The next offset that the group has to handle, as its consumers see it: what is out of range begins anew."""
        committed = self._offsets.of(bounds, ANSWER)
        return {each: max(committed.get(each, -1), oldest) for each, (oldest, _) in bounds.items()}

    def _without_records(self, behind: Mapping[Partition, int], bounds: Mapping[Partition, Bounds]) -> set[Partition]:
        """Those of the partitions in which there is nothing to handle although the group is behind their end: Kafka has
        offsets for what is no record, as for the end of a transaction. Asked where the group stands still."""
        unclear = {
            each: at
            for each, at in behind.items()
            if self._before.get(each) == at and self._at_a_record.get(each) != at
        }
        spans = [Span(each, at, bounds[each][1]) for each, at in unclear.items()]
        found = self._records.of(spans, ANSWER) if spans else {}
        self._at_a_record |= {each: unclear[each] for each, time in found.items() if time is not False}
        return {each for each, time in found.items() if time is False}
