"""Places in topics that people can name: an end, an offset, a time.

Blocking; every wait is bounded.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from enum import Enum
from typing import TypeAlias

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, ClusterMetadata, OffsetSpec

from django_events.exceptions import KafkaRefused
from django_events.kafka import names
from django_events.kafka.errors import LastError, answer_of
from django_events.kafka.record import Partition


class Edge(Enum):
    """The two ends of a partition."""

    EARLIEST = "earliest"
    """The oldest record that Kafka still has."""
    LATEST = "latest"
    """After the newest record that consumers can see."""


Position: TypeAlias = Edge | int | datetime
"""An end, an offset, or a time: that of the first record which is not older."""


def partitions_of(topic: str, cluster: ClusterMetadata, number: int | None = None) -> list[Partition]:
    """The partitions of this topic, or the one of this number. Raises KafkaRefused for what Kafka does not have."""
    found = cluster.topics.get(names.on_wire(topic))
    if found is None:
        raise KafkaRefused(
            f"Kafka has no topic {names.on_wire(topic)!r}. See what it has of the declared ones: "
            "manage.py events topics"
        )
    if number is None:
        return [Partition(topic, each) for each in sorted(found.partitions)]
    if number not in found.partitions:
        raise KafkaRefused(
            f"The topic {names.on_wire(topic)!r} has no partition {number}; it has {len(found.partitions)}, from 0."
        )
    return [Partition(topic, number)]


def ends(
    partitions: Collection[Partition], admin: AdminClient, last_error: LastError, timeout: float
) -> dict[Partition, tuple[int, int]]:
    """The offset of each partition's oldest record, and the one after its newest."""
    first = _asked(partitions, OffsetSpec.earliest(), admin, last_error, timeout)
    after_last = _asked(partitions, OffsetSpec.latest(), admin, last_error, timeout)
    return {partition: (first[partition], after_last[partition]) for partition in partitions}


def offsets(
    position: Position,
    known: Mapping[Partition, tuple[int, int]],
    admin: AdminClient,
    last_error: LastError,
    timeout: float,
) -> dict[Partition, int]:
    """The offset of the position in each partition, whose ``ends`` are known; never outside of them."""
    match position:
        case Edge.EARLIEST:
            return {partition: start for partition, (start, _) in known.items()}
        case Edge.LATEST:
            return {partition: end for partition, (_, end) in known.items()}
        case datetime():
            wanted = OffsetSpec.for_timestamp(max(int(position.timestamp() * 1000), 0))
            found = _asked(known, wanted, admin, last_error, timeout)
            return {each: end if found[each] < 0 else min(found[each], end) for each, (_, end) in known.items()}
        case int():
            return {partition: min(max(position, start), end) for partition, (start, end) in known.items()}


def _asked(
    partitions: Collection[Partition], wanted: OffsetSpec, admin: AdminClient, last_error: LastError, timeout: float
) -> dict[Partition, int]:
    if not partitions:
        return {}
    requests = {TopicPartition(names.on_wire(each.topic), each.number): wanted for each in partitions}
    answers = admin.list_offsets(requests, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=timeout)
    return {
        Partition(names.off_wire(each.topic), each.partition): answer_of(
            answer, f"tell the offsets of {each.topic}[{each.partition}]", last_error, timeout
        ).offset
        for each, answer in answers.items()
    }
