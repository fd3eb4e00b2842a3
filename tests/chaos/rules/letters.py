"""What must be true of dead letters."""

from collections.abc import Iterator

from tests.chaos.evidence import Evidence
from tests.chaos.facts import Buried, Intent
from tests.chaos.rules.handling import WAITING
from tests.chaos.violation import Violation


def letters_are_brought_in(evidence: Evidence) -> Iterator[Violation]:
    """Every dead letter in Kafka is in the table, where an event has one open letter of a handler at most."""
    for (handler, _), letters in evidence.letters.items():
        event = letters[0].event
        if (handler, event) not in evidence.kept:
            what = f"the dead letter of {handler} for event {event} is in Kafka, but not in the table"
            yield Violation(what=what, events=(event,), handler=handler)
    for (handler, event), rows in evidence.kept.items():
        if sum(row.state == WAITING for row in rows) > 1:
            what = f"{handler} has {len(rows)} open dead letters for event {event}"
            yield Violation(what=what, events=(event,), handler=handler)


def letters_have_a_failure(evidence: Evidence) -> Iterator[Violation]:
    """A handler's event becomes a dead letter only if the handler has failed with it, or a fault hit what it needs."""
    for (handler, place), letters in evidence.letters.items():
        letter = letters[0]
        actors = evidence.actors_of[handler.partition("/")[0]]
        calls = evidence.calls.get((handler, place), ())
        begin = min([letter.at, *(call.at for call in calls)])
        if letter.event not in evidence.failed.get(handler, ()) and not evidence.is_explained(actors, begin, letter.at):
            what = f"event {letter.event} is a dead letter of {handler}, which has not failed with it"
            yield Violation(what=what, events=(letter.event,), handler=handler)


def what_took_effect_has_no_open_letter(evidence: Evidence) -> Iterator[Violation]:
    """Once an exactly-once handler has taken effect for an event, no dead letter of it waits for an operator."""
    for (handler, event), rows in evidence.kept.items():
        is_open = any(row.state == WAITING for row in rows)
        if is_open and evidence.handlers[handler].exactly_once and (handler, event) in evidence.effects:
            what = f"a dead letter of {handler} for event {event} waits, though the handler has taken effect for it"
            yield Violation(what=what, events=(event,), handler=handler)


def letters_are_as_the_event(evidence: Evidence) -> Iterator[Violation]:
    """A dead letter has the key, body and headers of its event, byte for byte."""
    for (handler, _), letters in evidence.letters.items():
        for letter in letters:
            intent = evidence.intents.get(letter.event)
            if intent and _contents(intent) != _contents(letter):
                what = f"the dead letter of {handler} for event {letter.event} has other contents than the event"
                yield Violation(what=what, events=(letter.event,), handler=handler)


def repeated_letters_are_explained(evidence: Evidence) -> Iterator[Violation]:
    """A record has two dead letters of one handler only if a fault hit a process that called it, or Kafka.

    From its first call on: a letter that Kafka does not acknowledge can be on its way for long.
    """
    for (handler, place), letters in evidence.letters.items():
        calls = evidence.calls.get((handler, place), ())
        begin = min([letters[0].at, *(call.at for call in calls)])
        if len(letters) > 1 and not evidence.is_explained({call.actor for call in calls}, begin, letters[-1].at):
            what = f"{handler} has {len(letters)} dead letters for event {letters[0].event}, and no fault explains it"
            yield Violation(what=what, events=(letters[0].event,), handler=handler)


def _contents(fact: Intent | Buried) -> tuple[object, ...]:
    return fact.key, fact.body, fact.headers
