"""What is told of a dead letter in words: what becomes of it, and what an action has done."""

from collections.abc import Collection, Iterator
from datetime import timedelta

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_events.admin.texts import span
from django_events.consuming.letters import handler_of
from django_events.exceptions import DeclarationError
from django_events.models import Answer, DeadLetter, State


def next_try(letter: DeadLetter, declared: Collection[tuple[str, str]]) -> str:
    """When the letter is tried next."""
    if not letter.is_open:
        return "–"
    if (letter.group_name, letter.handler) not in declared:
        return _("handler not declared")
    if letter.state == State.RUNNING:
        return _("runs right now")
    if letter.due_at is None:
        return _("behind an older one of its key") if letter.automatic else _("when somebody says so")
    wait = letter.due_at - timezone.now()
    return _("now") if wait.total_seconds() < 1 else _("in %s") % span(wait)


def situation(letter: DeadLetter) -> str:
    """What has become of the letter, and what comes next, as sentences."""
    if letter.state == State.RESOLVED:
        return _("Resolved: the handler is done with the event. Nothing is left to do.")
    if letter.state == State.DISCARDED:
        return _("Discarded: the event is given up for this handler. It is kept here to be looked at.")
    if problem := undeclared(letter):
        return problem
    if letter.state == State.RUNNING:
        return _("The handler is trying it right now. Look again in a moment.")
    if letter.due_at is None and letter.automatic:
        return _("It waits behind an older dead letter of its key, and is tried when that one is closed.")
    if letter.due_at is None:
        return _("It waits for you: its handler asked that nothing is tried before somebody says so.")
    wait = letter.due_at - timezone.now()
    if wait < timedelta(seconds=1):
        return _("It is tried as soon as a “manage.py consume” that runs its group has time.")
    return _("It is tried again by itself in %s.") % span(wait)


def undeclared(letter: DeadLetter) -> str:
    """Why this site cannot try the letter, and what to do; empty if it can."""
    try:
        handler_of(letter)
    except DeclarationError as error:
        return str(error)
    return ""


def answer_in_words(done: str, answer: Answer) -> Iterator[tuple[bool, str]]:
    """What an action came to, as sentences, and whether each is good news. ``done`` tells what happened to how many."""
    if answer.done:
        yield True, done
    if answer.closed:
        yield (
            False,
            ngettext(
                "%d was left alone, because it is closed already.",
                "%d were left alone, because they are closed already.",
                answer.closed,
            )
            % answer.closed,
        )
    if answer.running:
        yield (
            False,
            ngettext(
                "%d was left alone, because it runs, or somebody else changes it, right now.",
                "%d were left alone, because they run, or somebody else changes them, right now.",
                answer.running,
            )
            % answer.running,
        )
    if answer.undeclared:
        yield (
            False,
            _("Left alone, because this site does not declare their handler: %s.") % ", ".join(answer.undeclared),
        )
    if answer == Answer():
        yield False, _("There was nothing to do.")
