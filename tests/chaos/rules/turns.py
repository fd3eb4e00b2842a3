"""In which order a handler gets the events of a key."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from tests.chaos.evidence import Evidence
from tests.chaos.facts import Declared, Delivered, Handling, Place
from tests.chaos.violation import Violation

Done = Mapping[tuple[str, Place], float]


def a_keys_events_are_handled_in_turn(evidence: Evidence) -> Iterator[Violation]:
    """A handler is called with a record only when it is done with all records of the same key before it, or has been
    called with them in the same transaction; and what it does for them takes effect in this order."""
    done = evidence.done_at()
    for records in _by_key(evidence):
        for declared in evidence.handlers.values():
            if records[0].place[0] in declared.topics and (found := _out_of_turn(evidence, done, declared, records)):
                yield found  # one for each key: the rest follows from it


def _by_key(evidence: Evidence) -> list[list[Delivered]]:
    """The records of each key, also those that repeat an event, in the order of their offsets."""
    found: dict[tuple[str, int, str], list[Delivered]] = defaultdict(list)
    for (topic, partition, _), record in sorted(evidence.records.items()):
        if record.key is not None:
            found[topic, partition, record.key].append(record)
    return list(found.values())


def _out_of_turn(evidence: Evidence, done: Done, declared: Declared, records: Sequence[Delivered]) -> Violation | None:
    handler = declared.handler
    for at, record in enumerate(records):
        before = [(done.get((handler, each.place), float("inf")), each) for each in records[:at]]
        calls = evidence.calls.get((handler, record.place), [])
        for number, call in enumerate(calls):
            for moment, earlier in before:
                if moment > call.at and not _share(evidence, declared, earlier, call, calls[:number]):
                    return _violation(handler, record, earlier, "was called with")
        noted = evidence.handled_at.get((handler, record.place), float("inf"))
        for moment, earlier in before:
            if noted < moment < float("inf"):
                return _violation(handler, record, earlier, "took effect for")
    return None


def _share(
    evidence: Evidence, declared: Declared, earlier: Delivered, call: Handling, calls_before: Sequence[Handling]
) -> bool:
    """Whether the transaction of this call may be that in which the handler was called with the earlier record, or with
    another of the same event: it was, by the same process, has not raised, and the call has not been made since."""
    if not declared.exactly_once:
        return False
    own = [each.at for each in calls_before if each.process == call.process]
    theirs = [
        each.at
        for each in evidence.calls_with.get((declared.handler, earlier.event), [])
        if each.process == call.process and each.at <= call.at
    ]
    if not theirs or (own and theirs[-1] < own[-1]):
        return False
    raised = evidence.raised_at.get((declared.handler, str(call.process)), [])
    return not any(each.event == earlier.event and theirs[-1] <= each.at <= call.at for each in raised)


def _violation(handler: str, record: Delivered, earlier: Delivered, what: str) -> Violation:
    return Violation(
        what=f"{handler} {what} event {record.event} of key {record.key!r} before it was done with event "
        f"{earlier.event}, which comes before it in {record.place[0]}[{record.place[1]}]",
        events=(record.event, earlier.event),
        handler=handler,
    )
