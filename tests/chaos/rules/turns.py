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
        calls = evidence.calls.get((handler, record.place), [])
        noted = evidence.handled.get((handler, record.place))
        for earlier in records[:at]:
            for number, call in enumerate(calls):
                moment = _done_for(call.process, evidence, done, declared, earlier)
                if moment > call.at and not _share(evidence, declared, earlier, call, calls[:number]):
                    return _violation(handler, record, earlier, "was called with")
            if noted and noted.at < _done_for(noted.process, evidence, done, declared, earlier) < float("inf"):
                return _violation(handler, record, earlier, "took effect for")
    return None


def _done_for(process: int, evidence: Evidence, done: Done, declared: Declared, record: Delivered) -> float:
    """When the handler was done with the record, for what this process does. That an event has taken effect in another
    one shows by its mark, perhaps before that other one can note it."""
    name = declared.handler, record.event
    moment = done.get((declared.handler, record.place), float("inf"))
    was_elsewhere = any(each.process != process for each in evidence.handled_with.get(name, [])[:1])
    if declared.exactly_once and was_elsewhere:
        moment = min([moment, *(effect.at for effect in evidence.effects.get(name, []))])
    return moment


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
