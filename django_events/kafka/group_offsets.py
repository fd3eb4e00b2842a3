"""Where a consumer group reads on, set by an operator while nobody is in the group.

Blocking; every wait is bounded.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition

from django_events.exceptions import KafkaRefused
from django_events.kafka import names, positions, topics
from django_events.kafka.consumer_groups import committed_offsets, members
from django_events.kafka.errors import answer_of
from django_events.kafka.positions import Position
from django_events.kafka.record import Partition

_OCCUPIED = frozenset((KafkaError.UNKNOWN_MEMBER_ID, KafkaError.NON_EMPTY_GROUP, KafkaError.STALE_MEMBER_EPOCH))
"""How Kafka says that somebody is in the group."""


@dataclass(frozen=True, slots=True)
class Move:
    """One partition whose committed offset is to be set. Immutable."""

    partition: Partition
    before: int | None
    """The committed offset; None if there is none."""
    after: int


def plan(group: str, of: Collection[str], number: int | None, to: Position, timeout: float) -> list[Move]:
    """What setting the group to this position would do, in each partition of these topics or in that of this number.

    Changes nothing. Raises BrokerUnavailable, and KafkaRefused for a topic or partition that is not there, or a group
    that has members.
    """
    admin, last_error = topics.client()
    cluster = topics.metadata(admin, last_error, timeout)
    partitions = [each for topic in of for each in positions.partitions_of(topic, cluster, number)]
    if inside := members(group, admin, last_error, timeout):
        raise _occupied(group, f"members ({len(inside)}, on {', '.join(sorted({each.host for each in inside}))})")
    before = committed_offsets(group, partitions, timeout)
    ends = positions.ends(partitions, admin, last_error, timeout)
    after = positions.offsets(to, ends, admin, last_error, timeout)
    return [Move(each, before.get(each), after[each]) for each in partitions]


def carry_out(group: str, moves: Sequence[Move], timeout: float) -> None:
    """Set the offsets. Idempotent. Raises BrokerUnavailable, and KafkaRefused if somebody has joined the group."""
    admin, last_error = topics.client()
    wanted = [TopicPartition(names.on_wire(each.partition.topic), each.partition.number, each.after) for each in moves]
    request = [ConsumerGroupTopicPartitions(names.on_wire(group), wanted)]
    (answer,) = admin.alter_consumer_group_offsets(request, request_timeout=timeout).values()
    error = answer.exception()
    if isinstance(error, KafkaException) and error.args[0].code() in _OCCUPIED:
        raise _occupied(group, "members")
    done = answer_of(answer, f"set the offsets of the group {names.on_wire(group)!r}", last_error)
    refused = [each for each in done.topic_partitions if each.error]
    if any(each.error.code() in _OCCUPIED for each in refused):
        raise _occupied(group, "members")
    if refused:
        reasons = ", ".join(f"{each.topic}[{each.partition}]: {each.error.str()}" for each in refused)
        raise KafkaRefused(f"Kafka does not set all offsets of the group {names.on_wire(group)!r}: {reasons}")


def _occupied(group: str, who: str) -> KafkaRefused:
    return KafkaRefused(
        f"The group {names.on_wire(group)!r} has {who}, which would commit their own offsets over it. Nothing is "
        "changed. Stop every consume that runs this group, wait until manage.py events groups shows it empty, and try "
        "again."
    )
