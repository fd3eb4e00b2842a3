"""Consumer groups as Kafka knows them: who is in them, and how far they are.

Blocking; every wait is bounded. Thread-safe: each call uses clients of its own. Nothing is changed.
"""

import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata

from django_events.kafka import names, positions, topics
from django_events.kafka.committed_offsets import CommittedOffsets
from django_events.kafka.errors import LastError, answer_of
from django_events.kafka.oldest_records import OldestRecords, Timestamp
from django_events.kafka.record import Partition
from django_events.kafka.spans import Span

PAUSE = 0.1
"""Seconds between two questions about a group whose coordinator is taking over."""

AT_ONCE = 16
"""Groups whose offsets are asked for at the same time: each question needs a client with connections of its own."""

_TAKING_OVER = frozenset(
    (KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR)
)

STATES = {
    ConsumerGroupState.STABLE: "stable",
    ConsumerGroupState.EMPTY: "empty",
    ConsumerGroupState.DEAD: "absent",
    ConsumerGroupState.PREPARING_REBALANCING: "rebalancing",
    ConsumerGroupState.COMPLETING_REBALANCING: "rebalancing",
}
"""Kafka's states in our words; ``absent`` is a group that Kafka does not know, or has forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One consumer in a group. Immutable."""

    client_id: str
    """The option ``client.id`` of its process."""
    host: str
    """Where it connects from."""
    member_id: str
    """What Kafka calls it."""
    partitions: tuple[Partition, ...]
    """What it has now."""
    target: tuple[Partition, ...] = ()
    """What the broker wants it to have, with the protocol ``consumer``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """A member of a group that runs here, and what it knows of itself. Immutable."""

    group: str
    topics: Collection[str]
    """Those that the group handles."""
    member_id: str
    partitions: Collection[Partition]
    """What it has heard that it has."""
    has_heard: bool = True
    """Whether it has heard anything. With the protocol ``consumer`` a member that gets no partitions never does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionState:
    """How far a group is in one partition. Immutable."""

    partition: Partition
    committed: int | None
    """The next offset to read that the group has committed; None if it has not, or Kafka has forgotten."""
    end: int
    """The offset after the newest record."""
    lag: int
    """Records from where the group goes on to the end; an upper bound, because offsets have holes."""
    oldest: Timestamp = None
    """When the oldest record that is not handled was written; None if there is none, or it has no time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupState:
    """What Kafka knows of one group. Immutable."""

    name: str
    """Without prefix."""
    wire_name: str
    """With it, as Kafka has it."""
    state: str
    """``stable``, ``empty``, ``rebalancing``, ``absent``, or ``unknown``."""
    members: tuple[Member, ...]
    partitions: tuple[PartitionState, ...]
    missing_topics: tuple[str, ...]
    """Those it wants and Kafka does not have."""

    @property
    def lag(self) -> int:
        return sum(each.lag for each in self.partitions)


def survey(groups: Mapping[str, Collection[str] | None], timeout: float) -> list[GroupState]:
    """The states of these groups, in these topics; None: in those that the group has committed offsets of.

    Raises BrokerUnavailable if Kafka does not answer a question within ``timeout`` seconds, KafkaRefused if it does
    not tell.
    """
    if not groups:
        return []
    admin, last_error = topics.client()
    cluster = topics.metadata(admin, last_error, timeout)
    described = _described(groups, admin, last_error, timeout)
    wanted = {name: _partitions(_all_topics(cluster) if of is None else of, cluster) for name, of in groups.items()}
    committed = _committed_offsets(wanted, timeout)
    for name, of in groups.items():
        if of is None:
            wanted[name] = _partitions({each.topic for each in committed[name]}, cluster)
    ends = positions.ends({each for some in wanted.values() for each in some}, admin, last_error, timeout)
    states = []
    with closing(OldestRecords(next(iter(groups)))) as records:
        for name in groups:
            places = {each: (committed[name].get(each), *ends[each]) for each in wanted[name]}
            state, group_members = described[name]
            states.append(
                GroupState(
                    name=name,
                    wire_name=names.on_wire(name),
                    state=state,
                    members=group_members,
                    partitions=tuple(_partition_states(places, records, timeout)),
                    missing_topics=_missing(groups[name] or (), cluster),
                )
            )
    return states


def unassigned(memberships: Collection[Membership], timeout: float) -> list[str]:
    """What stands in the way of these groups having all partitions of their topics: those that no member has, those
    that a member here is about to hear of, and topics that are missing, in words. Empty if nothing does.

    What Kafka has given to one of these members counts when the member has heard of it.

    Raises BrokerUnavailable if Kafka does not answer a question within ``timeout`` seconds, KafkaRefused if it does
    not tell.
    """
    admin, last_error = topics.client()
    cluster = topics.metadata(admin, last_error, timeout)
    # Only where somebody else must have the rest: the question may abort the process when a node dies (ARCHITECTURE).
    asked = [
        each.group
        for each in memberships
        if not each.has_heard or not {*_partitions(each.topics, cluster)} <= {*each.partitions}
    ]
    described = _described(asked, admin, last_error, timeout) if asked else {}
    found = []
    for each in memberships:
        missing = _missing(each.topics, cluster)
        found += [f"Kafka does not have the topic {topic}, which {each.group} handles" for topic in missing]
        state, group_members = described.get(each.group, ("", ()))
        others = [member for member in group_members if member.member_id != each.member_id]
        if not each.has_heard and not (state == "stable" and _is_to_have_none(each.member_id, group_members)):
            found.append(f"Kafka has given {each.group} no partitions in this process")
        taken = {*each.partitions, *(partition for member in others for partition in member.partitions)}
        free = [
            f"{topic}[{number}]"
            for topic, number in _partitions(each.topics, cluster)
            if Partition(topic, number) not in taken
        ]
        if free:
            more = f" and {len(free) - 5} more" if len(free) > 5 else ""
            found.append(f"no process of {each.group} has {', '.join(free[:5])}{more}")
    return found


def members(group: str, admin: AdminClient, last_error: LastError, timeout: float) -> tuple[Member, ...]:
    """Who is in the group now. Raises BrokerUnavailable or KafkaRefused."""
    return _described([group], admin, last_error, timeout)[group][1]


def committed_offsets(group: str, partitions: Collection[Partition], timeout: float) -> dict[Partition, int]:
    """The offsets that the group has committed in these partitions. Raises BrokerUnavailable or KafkaRefused."""
    with closing(CommittedOffsets(group)) as offsets:
        return offsets.of(partitions, timeout)


def _committed_offsets(wanted: Mapping[str, Collection[Partition]], timeout: float) -> dict[str, dict[Partition, int]]:
    """Those of each group in these partitions. Raises BrokerUnavailable or KafkaRefused."""
    with ThreadPoolExecutor(min(AT_ONCE, len(wanted))) as pool:
        asked = {name: pool.submit(committed_offsets, name, of, timeout) for name, of in wanted.items()}
        return {name: answer.result() for name, answer in asked.items()}


def reads_on_at(committed: int | None, start: int, end: int) -> int:
    """Where a group goes on in a partition with these ends: at its oldest record where it has no valid offset."""
    return committed if committed is not None and start <= committed <= end else start


def _described(
    groups: Collection[str], admin: AdminClient, last_error: LastError, timeout: float
) -> dict[str, tuple[str, tuple[Member, ...]]]:
    """What Kafka tells of each; one whose coordinator is only taking over is asked about again."""
    deadline = time.monotonic() + timeout
    answers: dict[str, Future[Any]] = {}
    left = sorted(groups)
    while left:
        found = admin.describe_consumer_groups(
            [*map(names.on_wire, left)], request_timeout=max(deadline - time.monotonic(), PAUSE)
        )
        answers |= {name: found[names.on_wire(name)] for name in left}
        left = [name for name in left if _is_taken_over(answers[name])]
        if time.monotonic() >= deadline:
            break
        time.sleep(PAUSE if left else 0.0)
    return {name: _state_and_members(name, answers[name], last_error) for name in groups}


def _state_and_members(name: str, answer: "Future[Any]", last_error: LastError) -> tuple[str, tuple[Member, ...]]:
    if _is_unknown(answer):
        return "absent", ()
    found = answer_of(answer, f"tell of the group {names.on_wire(name)!r}", last_error)
    return STATES.get(found.state, "unknown"), tuple(sorted(map(_member, found.members), key=lambda each: each.host))


def _member(found: Any) -> Member:
    return Member(
        client_id=found.client_id,
        host=found.host.removeprefix("/"),
        member_id=found.member_id,
        partitions=_assigned(found.assignment),
        target=_assigned(found.target_assignment),
    )


def _assigned(assignment: Any) -> tuple[Partition, ...]:
    found = assignment.topic_partitions if assignment else []
    return tuple(sorted(Partition(names.off_wire(each.topic), each.partition) for each in found))


def _is_to_have_none(member_id: str, group_members: Collection[Member]) -> bool:
    """Whether this member is in the group, and is to have no partitions."""
    return any(each.member_id == member_id and not each.partitions and not each.target for each in group_members)


def _is_taken_over(answer: "Future[Any]") -> bool:
    """Whether Kafka has answered that the group's coordinator has just become that, or is no more."""
    error = answer.exception()
    return isinstance(error, KafkaException) and error.args[0].code() in _TAKING_OVER


def _is_unknown(answer: "Future[Any]") -> bool:
    """Whether Kafka has answered that there is no such group."""
    error = answer.exception()
    return isinstance(error, KafkaException) and error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND


def _all_topics(cluster: ClusterMetadata) -> list[str]:
    """All that have our prefix."""
    return [names.off_wire(topic) for topic in cluster.topics if topic.startswith(names.on_wire(""))]


def _partitions(of: Collection[str], cluster: ClusterMetadata) -> list[Partition]:
    """Those of these topics, as far as they are there."""
    there = sorted(topic for topic in set(of) if names.on_wire(topic) in cluster.topics)
    return [partition for topic in there for partition in positions.partitions_of(topic, cluster)]


def _missing(wanted: Collection[str], cluster: ClusterMetadata) -> tuple[str, ...]:
    return tuple(sorted(topic for topic in wanted if names.on_wire(topic) not in cluster.topics))


def _partition_states(
    places: Mapping[Partition, tuple[int | None, int, int]], records: OldestRecords, timeout: float
) -> Iterator[PartitionState]:
    """``places`` has the committed, first and next offset of each partition."""
    lagging = {each: reads_on_at(*place) for each, place in places.items() if reads_on_at(*place) < place[2]}
    oldest = records.of([Span(each, at, places[each][2]) for each, at in lagging.items()], timeout) if lagging else {}
    for partition, (committed, _, end) in places.items():
        found = oldest.get(partition)
        # Behind the last record there may be markers of transactions, which nobody ever reads.
        lag = 0 if found is False or partition not in lagging else end - lagging[partition]
        yield PartitionState(
            partition=partition,
            committed=committed,
            end=end,
            lag=lag,
            oldest=None if isinstance(found, bool) else found,
        )
