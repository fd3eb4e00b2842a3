"""Duplicates are allowed where something broke, and nowhere else."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from tests.chaos.evidence import Evidence
from tests.chaos.facts import DATABASE, Delivered, Sending
from tests.chaos.violation import Violation

SLOW = 0.5
"""Seconds; a sender waits for one at least."""


def duplicate_records_are_explained(evidence: Evidence) -> Iterator[Violation]:
    """An event is in Kafka twice only if a fault hit one of its senders, their connections or Kafka meanwhile, or Kafka
    was too slow for its first sender, who does not wait for ever, or a process ended in a round with it."""
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


def what_is_gone_is_not_sent_again(evidence: Evidence) -> Iterator[Violation]:
    """Who ends a round has the event's lane from its reading until it is committed that the row is gone. So from the
    sending on nobody else sends the event, but one that has lost its connection to the database and does not know."""
    for event, ends in sorted(evidence.sent_by.items()):
        sendings = evidence.sendings.get(event, [])
        for end in ends:
            own = [each for each in sendings if (each.process, each.thread) == (end.process, end.thread)]
            begin = max((each.at for each in own if each.at <= end.at), default=0)
            later = [each for each in sendings if begin and each.at > begin]
            if any(not evidence.was_broken({each.actor, DATABASE}, each.at, each.at) for each in later):
                yield Violation(what=f"event {event} was sent again after it was sent for good", events=(event,))
                break


def _was_slow(sendings: Sequence[Sending], records: Sequence[Delivered]) -> bool:
    """Whether Kafka had not even got the record for a good part of the time that a sender waits at least."""
    return bool(sendings) and records[0].at - sendings[0].at > SLOW


def repeated_calls_are_explained(evidence: Evidence) -> Iterator[Violation]:
    """A handler is called again with a record only if it had raised, also with another event in the same transaction,
    or a fault hit a process of its group: then partitions move, and back, with what is handled out of order."""
    for (handler, _), calls in evidence.calls.items():
        for before, again in pairwise(calls):
            if evidence.has_raised(before, again) or evidence.was_rolled_back(before, again):
                continue
            if not evidence.is_explained(evidence.actors_of[handler.partition("/")[0]], before.at, again.at):
                what = f"{handler} was called again with event {again.event}, and no fault explains it"
                yield Violation(what=what, events=(again.event,), handler=handler)
