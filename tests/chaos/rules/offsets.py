"""What a committed offset says must be true: all before it is done."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from tests.chaos.evidence import Evidence
from tests.chaos.facts import Delivered, OffsetsCommitted, Place
from tests.chaos.violation import Violation


def offsets_pass_only_finished_records(evidence: Evidence) -> Iterator[Violation]:
    """When an offset is committed, every handler of its group is done with every record before it."""
    done = evidence.done_at()
    partitions = _by_partition(evidence)
    topics = {topic for declared in evidence.handlers.values() for topic in declared.topics}
    unfinished: dict[tuple[str, str, int], list[tuple[float, str, Delivered]]] = {}
    for commit in evidence.all(OffsetsCommitted):
        for topic, partition, offset in commit.offsets:
            records = partitions.get((topic, partition), [])
            name = (commit.group, topic, partition)
            if name not in unfinished:
                unfinished[name] = _latest_done(evidence, commit.group, records, done)
            if topic not in topics:  # a topic of dead letters: its reader is judged by what it has kept
                continue
            if offset > len(unfinished[name]):
                yield _beyond(commit, topic, partition, offset)
            elif offset and (worst := unfinished[name][offset - 1])[0] > commit.at:
                yield _too_early(commit, worst[1], worst[2], offset)


def _by_partition(evidence: Evidence) -> dict[tuple[str, int], list[Delivered]]:
    found: dict[tuple[str, int], list[Delivered]] = defaultdict(list)
    for (topic, partition, _), record in sorted(evidence.records.items()):
        found[topic, partition].append(record)
    return found


def _latest_done(
    evidence: Evidence, group: str, records: list[Delivered], done: Mapping[tuple[str, Place], float]
) -> list[tuple[float, str, Delivered]]:
    """For each offset: when the last of all records up to it was done with, by which handler."""
    worst: tuple[float, str, Delivered] | None = None
    found = []
    for record in records:
        for declared in evidence.wanted_by(group, record.place[0]):
            at = done.get((declared.handler, record.place), float("inf"))
            if worst is None or at > worst[0]:
                worst = (at, declared.handler, record)
        found.append(worst or (0.0, "", record))
    return found


def _beyond(commit: OffsetsCommitted, topic: str, partition: int, offset: int) -> Violation:
    return Violation(
        what=f"{commit.actor} committed offset {offset} of {topic}[{partition}] for group {commit.group}, "
        "which the partition does not have",
        actors=(commit.actor,),
    )


def _too_early(commit: OffsetsCommitted, handler: str, record: Delivered, offset: int) -> Violation:
    topic, partition, at = record.place
    return Violation(
        what=f"{commit.actor} committed offset {offset} of {topic}[{partition}] while {handler} was not done with "
        f"event {record.event} at offset {at}",
        events=(record.event,),
        actors=(commit.actor,),
        handler=handler,
    )
