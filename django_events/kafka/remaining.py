"""What a group has still to handle of what topics had at a first look, whichever process handles it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from django_events.exceptions import BrokerUnavailable
from django_events.kafka import config, names
from django_events.kafka.consumer import LONGEST_POLL
from django_events.kafka.errors import LastError, no_answer, refused_options_named
from django_events.kafka.logs import QUIET_LOGGER
from django_events.kafka.record import Partition
from django_events.kafka.starting import Start

ANSWER = 5.0
"""Seconds that Kafka has for one answer."""

SILENCE = 10.0
"""Seconds without a record after which Kafka is taken to be away."""

Place = tuple[str, int]
"""A partition: the name of its topic in Kafka, and its number."""


@dataclass(frozen=True, slots=True)
class Left:
    """A partition in which the group has not reached the end yet. Immutable."""

    partition: Partition
    offset: int | None
    """The next offset that the group has to handle; None: it has not begun there."""
    end: int
    """The offset after the last record that the partition had at the first look."""

    def __str__(self) -> str:
        place = f"{self.partition.topic}[{self.partition.number}]"
        return f"{place} at {self.offset} of {self.end}" if self.offset is not None else f"{place} has not begun"


class Remaining:
    """Reads offsets and, where they stand still, records; joins no group and commits nothing. Used by one thread.

    Each call blocks while Kafka answers, for seconds at most; ``close`` it.
    """

    def __init__(self, group: str, topics: Iterable[str], start: Start = "earliest") -> None:
        """``start`` is where the group begins in topics that are new to it."""
        self._topics = [names.on_wire(topic) for topic in topics]
        self._last_error = LastError()
        options = config.consumer_options(group)
        self._reset = str(options["auto.offset.reset"])
        self._start = start
        with refused_options_named():
            self._client = confluent_kafka.Consumer(
                options | {"error_cb": self._last_error, "enable.partition.eof": True}, logger=QUIET_LOGGER
            )
        self._bounds: dict[Place, tuple[int, int]] | None = None
        """The first and the next offset of every partition that is not known to be done with, at the first look."""
        self._seen: dict[Place, int] = {}
        """Where a record was seen that the group has not handled."""
        self._before: dict[Place, int] = {}
        """Where the group was at the look before."""
        self.missing: list[str] = []
        """The topics that Kafka does not have; known after the first look."""

    def look(self) -> list[Left]:
        """Where the group has not reached the end yet. Raises BrokerUnavailable if Kafka does not answer."""
        try:
            if self._bounds is None:
                self._bounds = self._first_bounds()
            left = list(self._left(self._bounds))
            self._bounds = {place: self._bounds[place] for place, _ in left}
            return [Left(Partition(names.off_wire(place[0]), place[1]), at, self._end(place)) for place, at in left]
        except KafkaException as error:
            raise BrokerUnavailable(no_answer(error, self._last_error)) from error

    def close(self) -> None:
        self._client.close()

    def _first_bounds(self) -> dict[Place, tuple[int, int]]:
        found = self._client.list_topics(timeout=ANSWER).topics  # asks without a name: naming a topic can create it
        self.missing = [names.off_wire(topic) for topic in self._topics if topic not in found]
        places = [(topic, number) for topic in self._topics if topic in found for number in found[topic].partitions]
        bounds = {place: self._client.get_watermark_offsets(TopicPartition(*place), timeout=ANSWER) for place in places}
        return {place: (first, end) for place, (first, end) in bounds.items() if end > first}

    def _end(self, place: Place) -> int:
        return self._bounds[place][1] if self._bounds else 0

    def _left(self, bounds: dict[Place, tuple[int, int]]) -> Iterator[tuple[Place, int | None]]:
        offsets = self._offsets(bounds)
        before = {
            place: offset for place, offset in offsets.items() if offset is not None and offset < bounds[place][1]
        }
        self._see_records([place for place, offset in before.items() if self._stands_still(place, offset)], before)
        self._before = before
        for place, offset in offsets.items():
            if offset is None or (place in before and self._seen.get(place, offset) < bounds[place][1]):
                yield place, offset

    def _offsets(self, bounds: dict[Place, tuple[int, int]]) -> dict[Place, int | None]:
        """The next offset that the group has to handle, as its consumers see it: what is out of range begins anew."""
        places = list(bounds)
        answers = self._client.committed([TopicPartition(*place) for place in places], timeout=ANSWER) if places else []
        for each in answers:
            if each.error:
                raise KafkaException(each.error)
        committed = {(each.topic, each.partition): each.offset for each in answers}
        begun = {topic for (topic, _), offset in committed.items() if offset >= 0}
        return {place: self._offset(committed[place], *bounds[place], place[0] in begun) for place in places}

    def _offset(self, committed: int, first: int, end: int, has_begun: bool) -> int | None:
        if first <= committed <= end:
            return committed
        if committed < 0 and self._start != "earliest" and not has_begun:
            return None
        return first if self._reset in ("earliest", "smallest", "beginning") else end

    def _stands_still(self, place: Place, offset: int) -> bool:
        """Whether the group has not moved since the last look, and no record is known that would explain it."""
        return self._before.get(place) == offset and self._seen.get(place, -1) < offset

    def _see_records(self, places: Sequence[Place], offsets: dict[Place, int]) -> None:
        """Note where the next record is. There may be none before the end: Kafka has offsets for what is no record, as
        for the end of a transaction, and forgets records at the end of a compacted topic."""
        waiting = set(places)
        self._client.assign([TopicPartition(*place, offsets[place]) for place in places])
        quiet = 0.0
        while waiting:
            polled = self._client.poll(LONGEST_POLL)
            error = polled.error() if polled else None
            if polled is None or (error and error.code() != KafkaError._PARTITION_EOF):
                quiet += LONGEST_POLL
                if quiet >= SILENCE:
                    raise BrokerUnavailable(f"Kafka at {config.brokers()} has sent nothing for {SILENCE:g} s.")
                continue
            place = (polled.topic(), polled.partition())
            if place in waiting:
                waiting.discard(place)
                self._seen[place] = self._end(place) if error else polled.offset()
        self._client.unassign()
