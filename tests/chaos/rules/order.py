"""In which order the events of a key first reach Kafka."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from tests.chaos.evidence import Evidence
from tests.chaos.facts import Delivered
from tests.chaos.violation import Violation


def a_key_stays_in_its_partition(evidence: Evidence) -> Iterator[Violation]:
    """All records of a key are in one partition of its topic: there is an order nowhere else."""
    first: dict[tuple[str, str], Delivered] = {}
    for record in evidence.records.values():
        if record.key is not None:
            before = first.setdefault((record.place[0], record.key), record)
            if record.place[1] != before.place[1]:
                what = f"events {before.event} and {record.event} of key {record.key!r} are in two partitions"
                yield Violation(what=what, events=(before.event, record.event))


def locked_aggregates_keep_their_order(evidence: Evidence) -> Iterator[Violation]:
    """Events written while their aggregate was locked first reach Kafka in the order of their transactions."""
    for (topic, key), records in evidence.first_deliveries().items():
        numbered = [(number, record) for record in records if (number := _number(evidence, record)) is not None]
        for (before, earlier), (after, later) in pairwise(numbered):
            if after <= before:
                yield _overtaken(
                    later, earlier, f"of {topic} key {key!r}: number {before} reached Kafka before {after}"
                )
                break  # one for each key: the rest follows from it


def later_transactions_do_not_overtake(evidence: Evidence) -> Iterator[Violation]:
    """If a transaction had committed before another wrote its event of the same key, that order is Kafka's."""
    for (topic, key), records in evidence.first_deliveries().items():
        if found := _overtaking(evidence, records):
            yield _overtaken(*found, f"of {topic} key {key!r} reached Kafka in the wrong order")


def _overtaking(evidence: Evidence, records: Sequence[Delivered]) -> tuple[Delivered, Delivered] | None:
    """The first record that comes after one whose event was written later than its own was committed."""
    last_written: tuple[float, Delivered] | None = None
    for record in records:
        intent = evidence.intents.get(record.event)
        if intent is None:
            continue
        committed = evidence.committed_at.get(intent.transaction)
        if last_written and committed is not None and committed < last_written[0]:
            return record, last_written[1]
        if last_written is None or intent.at > last_written[0]:
            last_written = intent.at, record
    return None


def _number(evidence: Evidence, record: Delivered) -> int | None:
    intent = evidence.intents.get(record.event)
    return intent.number if intent else None


def _overtaken(event: Delivered, by: Delivered, what: str) -> Violation:
    return Violation(what=f"event {event.event} was overtaken by {by.event} {what}", events=(event.event, by.event))
