"""What handlers must have done, and how often."""

from collections.abc import Iterator

from tests.chaos.evidence import Evidence
from tests.chaos.violation import Violation

WAITING = "waiting"
"""The state of a dead letter that an operator has to deal with."""


def handlers_get_what_was_sent(evidence: Evidence) -> Iterator[Violation]:
    """A handler is called with the event, key and body of the record that it is told to come from."""
    for calls in evidence.calls.values():
        for call in [each for each in calls if each.body is not None]:
            record = evidence.records.get(call.place)
            wanted = (record.event, record.key, record.body) if record else None
            if (given := (call.event, call.key, call.body)) != wanted:
                what = f"{call.handler} was given {given!r:.300}, but {call.place} has {wanted!r:.300}"
                yield Violation(what=what, events=(call.event,), handler=call.handler)


def exactly_once_effects_are_single(evidence: Evidence) -> Iterator[Violation]:
    """Each effect of an exactly-once handler exists once."""
    for (handler, event), effects in evidence.effects.items():
        if evidence.handlers[handler].exactly_once and len(effects) > 1:
            what = f"{handler} took effect {len(effects)} times for event {event}"
            yield Violation(what=what, events=(event,), handler=handler)


def effects_have_events(evidence: Evidence) -> Iterator[Violation]:
    """No handler took effect for an event that was never committed."""
    for handler, event in evidence.effects:
        if event not in evidence.saved:
            what = f"{handler} took effect for event {event}, which was never committed"
            yield Violation(what=what, events=(event,), handler=handler)


def every_handler_handles_every_event(evidence: Evidence) -> Iterator[Violation]:
    """Every handler of every group has taken effect for every event of its topics, or its dead letter waits."""
    for event, records in sorted(evidence.deliveries.items()):
        for declared in evidence.handlers.values():
            name = declared.handler, event
            if records[0].place[0] in declared.topics and name not in evidence.effects and not _waits(evidence, name):
                states = ", ".join(letter.state for letter in evidence.kept.get(name, ())) or "no dead letter"
                what = f"{declared.handler} never took effect for event {event} ({states})"
                yield Violation(what=what, events=(event,), handler=declared.handler)


def _waits(evidence: Evidence, name: tuple[str, str]) -> bool:
    return any(letter.state == WAITING for letter in evidence.kept.get(name, ()))
