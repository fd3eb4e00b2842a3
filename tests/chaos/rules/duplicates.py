"""Duplicates are allowed where something broke, and nowhere else."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from tests.chaos.evidence import Evidence
from tests.chaos.facts import Delivered, Sending
from tests.chaos.violation import Violation

SLOW = 0.5
"""Seconds; a sender waits for one at least."""


def duplicate_records_are_explained(evidence: Evidence) -> Iterator[Violation]:
    """An event is in Kafka twice only if a fault hit one of its senders, their connections or Kafka meanwhile, or Kafka
    was too slow for its first sender, who does not wait for ever, or a sender ended in its last round."""
    for event, records in sorted(evidence.deliveries.items()):
        if len(records) < 2:
            continue
        sendings = evidence.sendings.get(event, [])
        begin = min([sending.at for sending in sendings] + [records[0].at])
        if _was_slow(sendings, records) or evidence.was_left_unfinished(event):
            continue
        if not evidence.is_explained({sending.actor for sending in sendings}, begin, records[-1].at):
            what = f"event {event} is in Kafka {len(records)} times, and no fault explains it"
            yield Violation(what=what, events=(event,))


def _was_slow(sendings: Sequence[Sending], records: Sequence[Delivered]) -> bool:
    """Whether Kafka had not even got the record for a good part of the time that a sender waits at least."""
    return bool(sendings) and records[0].at - sendings[0].at > SLOW


def repeated_calls_are_explained(evidence: Evidence) -> Iterator[Violation]:
    """A handler is called again with a record only if it had raised, also with another event in the same transaction,
    or a fault hit a process of its group: then partitions move, and back, with what is handled out of order."""
    for (handler, _), calls in evidence.calls.items():
        for before, again in pairwise(calls):
            if (handler, before.place, before.process) in evidence.raised or evidence.was_rolled_back(before, again):
                continue
            if not evidence.is_explained(evidence.actors_of[handler.partition("/")[0]], before.at, again.at):
                what = f"{handler} was called again with event {again.event}, and no fault explains it"
                yield Violation(what=what, events=(again.event,), handler=handler)
