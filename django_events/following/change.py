"""Where a reader is, and where it reads on once Kafka has told which partitions there are now. Asks nobody itself."""

from collections.abc import Collection, Iterable, Mapping

from django_events.exceptions import KafkaRefused
from django_events.following.gap import Gap
from django_events.kafka.following import TopicInKafka
from django_events.kafka.record import Partition


class Place:
    """Where a reader is. Another can go on from a copy."""

    def __init__(
        self, offsets: Mapping[Partition, int], ids: Mapping[str, str | None], hidden: Iterable[str] = ()
    ) -> None:
        self.offsets = dict(offsets)
        """The next offset to read, of each partition."""
        self.ids = dict(ids)
        """The id of each topic that was seen; None where Kafka has not had it yet: all of it will be new."""
        self.hidden = set(hidden)
        """The topics that Kafka did not let us read at the last look. One without an id was never seen: where it ended,
        nobody knows."""

    def copy(self) -> "Place":
        return Place(self.offsets, self.ids, self.hidden)

    def of(self, topic: str) -> list[Partition]:
        """The partitions of this topic that are read."""
        return [partition for partition in self.offsets if partition.topic == topic]


class Change:
    """What is to be read next, made from what was read and what Kafka has now. Nothing is done before all is known."""

    def __init__(self, place: Place, lost: Iterable[Partition]) -> None:
        """``lost``: the partitions whose next record Kafka did not have."""
        self.place = place.copy()
        self.gaps: list[Gap] = []
        self._lost = set(lost)
        self._from_end: list[Partition] = []
        self._unseen: set[Partition] = set()
        self._from_start: dict[Partition, int | None] = {}
        self._is_less = False

    @property
    def changes_anything(self) -> bool:
        """Whether anything is to be read otherwise than before."""
        return bool(self.unknown) or self._is_less

    @property
    def unknown(self) -> list[Partition]:
        """The partitions whose ends are needed."""
        again = [partition for partition in self._lost if partition in self.place.offsets]
        return [*self._from_end, *self._from_start, *again]

    def look_at(self, topic: str, now: TopicInKafka | KafkaRefused | None) -> None:
        """See what has become of this topic."""
        known = self.place.of(topic)
        if isinstance(now, KafkaRefused):
            self._lost.difference_update(known)
            self.place.hidden.add(topic)
            return
        was_hidden = topic in self.place.hidden
        self.place.hidden.discard(topic)
        is_first = topic not in self.place.ids
        before = self.place.ids.setdefault(topic, None)
        if now is None:  # perhaps it is made again: then by another id
            self._lost.difference_update(known)
            return
        if is_first:
            self._from_end += now.partitions
            self._unseen.update(now.partitions if was_hidden else ())
        elif before != now.id:
            self._begin_anew(known, was_there=before is not None)
            self._from_start.update(dict.fromkeys(now.partitions))
        else:
            self._from_start.update(dict.fromkeys(now.partitions - set(known)))
        self.place.ids[topic] = now.id

    def forget_all_but(self, wanted: Collection[str]) -> None:
        """Read no topic that nobody wants any more."""
        for topic in self.place.ids.keys() - wanted:
            del self.place.ids[topic]
            for partition in self.place.of(topic):
                del self.place.offsets[partition]
                self._is_less = True
        self.place.hidden.intersection_update(wanted)

    def find_offsets(self, ends: Mapping[Partition, tuple[int, int]]) -> None:
        """Decide where to read, by each partition's oldest record and its end."""
        again = [partition for partition in self._lost if partition in self.place.offsets]
        for partition in again:
            first, end = ends[partition]
            at = self.place.offsets[partition]
            if not first <= at <= end:
                self._go_on(partition, at, first if at < first else end)
        for partition in self._from_end:
            end = self.place.offsets[partition] = ends[partition][1]
            if end and partition in self._unseen:
                self._go_on(partition, 0, end)
        for partition in self._from_start:
            self.place.offsets[partition] = 0
            if first := ends[partition][0]:
                self._go_on(partition, 0, first)

    def _begin_anew(self, known: Iterable[Partition], *, was_there: bool) -> None:
        """The topic is another one by the same name."""
        for partition in known:
            offset = self.place.offsets.pop(partition)
            if was_there:
                self.gaps.append(Gap(topic=partition.topic, partition=partition.number, start=offset, end=None))

    def _go_on(self, partition: Partition, start: int, end: int) -> None:
        self.gaps.append(Gap(topic=partition.topic, partition=partition.number, start=start, end=end))
        self.place.offsets[partition] = end
