"""The first record of a producer to a partition goes alone.

A broker numbers what it takes of each producer, and refuses a batch that does not continue the one before: so nothing
overtakes a batch that was refused. But of a producer that a partition does not know yet, it takes any number. If it
refuses the first batch, or cannot take it at that moment, the second, which is on its way already, would be taken
(``ProducerAppendInfo.checkSequence`` of Apache Kafka). And where it only could not take the first at that moment,
librdkafka would tell that both were taken, and the first were lost (``rd_kafka_dr_implicit_ack``).

So it must be known where a record goes. One without a key goes where librdkafka likes; but until all partitions of its
topic know us, those of one call go to one of them that is chosen here.
"""

import random
import time
from collections.abc import Collection, Iterable, Mapping

from django_events.kafka import names
from django_events.kafka.partitioning import partition_of
from django_events.kafka.record import Outgoing, Partition

KNOWN_FOR = 3_600.0
"""Seconds after which partitions are taken for new ones again. Brokers forget a silent producer after a day."""

Sent = tuple[int, Outgoing]
"""A token of the caller's, and a record."""


class FirstRecords:
    """Which partitions know one producer. Owned by the producer's thread."""

    def __init__(self, partitioner: str) -> None:
        self.without_key: dict[str, int] = {}
        """By topic, where the records without key of the last ``split`` must go; anywhere if it is not in here."""
        self._partitioner = partitioner
        self._partitions: dict[str, int] = {}
        self._leaderless: Mapping[str, Collection[int]] = {}
        self._known: set[Partition] = set()
        self._complete: set[str] = set()
        self._begun = time.monotonic()

    def learn(self, partitions: Mapping[str, int], leaderless: Mapping[str, Collection[int]]) -> None:
        """How many partitions each topic has, and which of them have no leader, by its name in Kafka."""
        before, self._partitions = self._partitions, dict(partitions)
        self._leaderless = leaderless
        self._complete = {
            topic for topic in self._complete if before[names.on_wire(topic)] == self._partitions_of(topic)
        }

    def split(self, records: Iterable[Sent]) -> tuple[list[Sent], list[Sent]]:
        """The first record for each partition that does not know us, and all others, in their order."""
        all_of_them = list(records)
        if time.monotonic() - self._begun > KNOWN_FOR:
            self._forget()
        incomplete = {record.topic for _, record in all_of_them} - self._complete
        self.without_key = {topic: self._one_of(topic) for topic in incomplete if self._partitions_of(topic)}
        if not incomplete:
            return [], all_of_them
        first: dict[Partition, Sent] = {}
        others: list[Sent] = []
        for sent in all_of_them:
            partition = self._partition_of(sent[1])
            if partition is None or partition in self._known or partition in first:
                others.append(sent)
            else:
                first[partition] = sent
        return list(first.values()), others

    def have_arrived(self, first: Iterable[Sent]) -> None:
        """All records that ``split`` called first are acknowledged."""
        for _, record in first:
            if partition := self._partition_of(record):
                self._known.add(partition)
        for topic in {record.topic for _, record in first}:
            if all(Partition(topic, number) in self._known for number in range(self._partitions_of(topic))):
                self._complete.add(topic)

    def _partitions_of(self, topic: str) -> int:
        return self._partitions.get(names.on_wire(topic), 0)

    def _partition_of(self, record: Outgoing) -> Partition | None:
        partitions = self._partitions_of(record.topic)
        if record.key is None:
            number = self.without_key.get(record.topic)
        else:
            number = partition_of(record.key, partitions, self._partitioner) if partitions else None
        return None if number is None else Partition(record.topic, number)

    def _one_of(self, topic: str) -> int:
        """One of the topic's partitions: that has a leader, and does not know us, so that soon all do."""
        every = set(range(self._partitions_of(topic)))
        led = every.difference(self._leaderless.get(names.on_wire(topic), ()))
        new = {number for number in led if Partition(topic, number) not in self._known}
        return random.choice(sorted(new or led or every))

    def _forget(self) -> None:
        self._known.clear()
        self._complete.clear()
        self._begun = time.monotonic()
