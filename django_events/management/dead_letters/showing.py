"""``show``: everything of one dead letter."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from django_events import cloudevents, redaction
from django_events.consuming import repair
from django_events.consuming.letters import database_of_letters, handler_of, letter_record
from django_events.exceptions import DeclarationError, DecodeError
from django_events.management.console import Console
from django_events.management.dead_letters import facts
from django_events.management.printable import printable, printable_lines
from django_events.models import DeadLetter, DeadLetterAttempt, State

ATTEMPTS = 20
"""How many attempts are shown, unless --attempts says otherwise."""

Pair = tuple[str, str | None]


def run(options: dict[str, Any], console: Console) -> None:
    """Show the letter; raises CommandError if there is none of that id."""
    letter = DeadLetter.objects.using(database_of_letters()).filter(pk=options["id"]).first()
    if letter is None:
        raise CommandError(
            f"No dead letter has the id {options['id']}. See: manage.py events dead-letters list --state all"
        )
    hidden = facts.hidden_of(letter)
    tries = list(letter.tries.order_by("-ended", "-pk")[: options["attempts"]])[::-1]
    if options["json"]:
        told = facts.everything(letter, hidden)
        console.say_json(told | {"tries": [facts.attempt(tried, hidden) for tried in tries]})
        return
    for line in _lines(letter, tries, hidden):
        console.say(line)


def _lines(letter: DeadLetter, tries: list[DeadLetterAttempt], hidden: facts.Hidden) -> Iterator[str]:
    yield f"Dead letter {letter.pk}"
    yield from _indented(_pairs(_what_became_of_it(letter, hidden)))
    yield from _section("Event", _pairs(_event(letter, hidden)))
    yield from _section("Headers", _pairs(_other_headers(letter, hidden)))
    kind = "Payload" if letter.edited_value is None else "Payload, as it was edited"
    yield from _section(kind, printable_lines(repair.editable_payload(letter)))
    if letter.edited_value is not None:
        letter.edited_value = None  # not saved: so that the original is shown
        yield from _section("Payload, as it came", printable_lines(repair.editable_payload(letter)))
    left_out = letter.tries.count() - len(tries)
    more = f", without the {left_out:,} before them" if left_out else ""
    yield from _section(f"Attempts, the last one at the end{more}", _attempts(tries, hidden))


def _what_became_of_it(letter: DeadLetter, hidden: facts.Hidden) -> Iterator[Pair]:
    yield "state", letter.state
    yield "handler", f"{letter.group_name}/{letter.handler}"
    yield "problem", _problem(letter)
    yield "error", f"{letter.exception}: {hidden.text(letter.message)}"
    yield "attempts", f"{letter.attempts:,}"
    yield "first failure", _moment(letter.first_failed)
    yield "last failure", _moment(letter.last_failed)
    yield "next try", _next_try(letter)
    yield "closed", _moment(letter.closed_at)
    yield "closed by", letter.closed_by
    yield "reason", letter.reason


def _problem(letter: DeadLetter) -> str | None:
    """Why an open letter cannot be tried at all."""
    try:
        handler_of(letter)
    except DeclarationError as error:
        return str(error) if letter.is_open else None
    return None


def _next_try(letter: DeadLetter) -> str | None:
    if letter.state != State.WAITING:
        return None
    if letter.due_at:
        return _moment(letter.due_at) if letter.due_at > timezone.now() else "now"
    return "after the older letters of its key" if letter.automatic else "when you say so"


def _event(letter: DeadLetter, hidden: facts.Hidden) -> Iterator[Pair]:
    yield "topic", letter.topic
    yield "position", f"partition {letter.partition}, offset {letter.offset:,}"
    yield "key", hidden.text(letter.key_text or "")
    try:
        attributes = cloudevents.decode(letter_record(letter))
    except DecodeError as error:
        yield "id", hidden.text(letter.event_id)
        yield "unreadable", hidden.text(str(error))
        return
    known = ("source", "type", "subject", "dataschema")
    yield from _attributes([(name, getattr(attributes, name)) for name in known], hidden)
    yield "id", hidden.text(letter.event_id)
    yield "time", _moment(attributes.time)
    yield "content type", attributes.content_type
    yield from _attributes(attributes.extensions.items(), hidden)


def _attributes(pairs: Iterable[Pair], hidden: facts.Hidden) -> Iterator[Pair]:
    """Attributes of the event, of which REDACT may name the headers."""
    for name, text in redaction.headers([(f"ce_{name}", text) for name, text in pairs]):
        yield name.removeprefix("ce_"), hidden.text(text or "")


def _other_headers(letter: DeadLetter, hidden: facts.Hidden) -> Iterator[Pair]:
    for name, text in facts.headers(letter, hidden):
        if not name.lower().startswith("ce_") and name.lower() != "content-type":
            yield name, "(none)" if text is None else text or "(empty)"


def _attempts(tries: Iterable[DeadLetterAttempt], hidden: facts.Hidden) -> Iterator[str]:
    for tried in tries:
        several = f", {tried.attempts:,} attempts since {_moment(tried.began)}" if tried.attempts > 1 else ""
        host = f", on {tried.host}" if tried.host else ""
        what = f"{tried.exception}: {hidden.text(tried.message)}" if tried.exception else "handled"
        yield printable(f"{_moment(tried.ended)}{several}{host}: {what}")
        yield from _indented(line for line in printable_lines(hidden.text(tried.traceback).rstrip()) if line)


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    found = list(lines)
    if found:
        yield ""
        yield title
        yield from _indented(found)


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _pairs(pairs: Iterable[Pair]) -> Iterator[str]:
    """Names and texts in two columns; what is empty is left out."""
    shown = [(printable(name), printable(text)) for name, text in pairs if text]
    width = max((len(name) for name, _ in shown), default=0)
    return (f"{name:<{width}}  {text}" for name, text in shown)


def _moment(at: datetime | None) -> str | None:
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M:%S %Z}" if at else None
