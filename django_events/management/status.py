"""``manage.py events status``: what waits, what is set aside, and what failed."""

from argparse import _SubParsersAction
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from django_events.conf import settings
from django_events.consuming import repair
from django_events.management import arguments
from django_events.management.console import Console
from django_events.management.table import Column, Table
from django_events.models import COUNTED, Backlog, Failure, OutgoingEvent

OUTBOX = (
    Column(title="DATABASE"),
    Column(title="TOPIC", least=20),
    Column(title="WAITING", right=True),
    Column(title="OLDEST", right=True),
    Column(title="SET ASIDE", right=True),
)
FAILURES = (
    Column(title="OPEN LETTERS", right=True),
    Column(title="HANDLER", least=15),
    Column(title="TOPIC", least=15),
    Column(title="ERROR", least=15),
)

SHOWN_FAILURES = 20
"""Failures that are shown; those with the most open letters."""


def add_to(verbs: "_SubParsersAction[CommandParser]") -> None:
    """Add ``status``."""
    text = "Shows which events wait to be sent or are set aside, and which handlers have open dead letters."
    parser = verbs.add_parser("status", help=text, description=text)
    arguments.add_djangos_options(parser)
    parser.add_argument("--json", action="store_true", help="one object of JSON")
    parser.set_defaults(run=run, needs_tables="status")


def run(options: dict[str, Any], console: Console) -> None:
    """Say it, for people or for a program."""
    outbox = [(using, backlog) for using in settings.DATABASES for backlog in OutgoingEvent.objects.backlogs(using)]
    failures = Failure.objects.using(repair.database()).filter(letters_open__gt=0).order_by("-letters_open", "pk")
    if options["json"]:
        console.say_json({"outbox": [_facts(*each) for each in outbox], "failures": [*map(_letters, failures)]})
        return
    _say_table(console, OUTBOX, [_row(*each) for each in outbox], "The outbox is empty.")
    console.say("")
    rows = [[f"{each.letters_open:,}", _handler(each), each.topic, _error(each)] for each in failures[:SHOWN_FAILURES]]
    _say_table(console, FAILURES, rows, "No dead letter is open.")
    if any(backlog.set_aside for _, backlog in outbox):
        console.say("\nKafka refuses what is set aside; send it again or discard it in the admin of outgoing events.")


def _say_table(console: Console, columns: tuple[Column, ...], rows: list[list[str]], otherwise: str) -> None:
    for line in Table(columns, console.width).lines(rows) if rows else [otherwise]:
        console.say(line)


def _row(using: str, backlog: Backlog) -> list[str]:
    age = f"{_age(backlog):,.0f} s" if backlog.oldest else ""
    return [using, backlog.topic, _number(backlog.waiting), age, _number(backlog.set_aside)]


def _facts(using: str, backlog: Backlog) -> dict[str, Any]:
    """For a program. Numbers end at the bound up to which is counted."""
    age = _age(backlog) if backlog.oldest else None
    return {
        "database": using,
        "topic": backlog.topic,
        "waiting": backlog.waiting,
        "oldest_seconds": age,
        "set_aside": backlog.set_aside,
    }


def _letters(failure: Failure) -> dict[str, Any]:
    return {
        "open_letters": failure.letters_open,
        "group": failure.group_name,
        "handler": failure.handler,
        "topic": failure.topic,
        "exception": failure.exception,
        "message": failure.message,
    }


def _age(backlog: Backlog) -> float:
    return (timezone.now() - backlog.oldest).total_seconds() if backlog.oldest else 0.0


def _number(count: int) -> str:
    return f"{count - 1:,}+" if count >= COUNTED else f"{count:,}"


def _handler(failure: Failure) -> str:
    return f"{failure.group_name}/{failure.handler}"


def _error(failure: Failure) -> str:
    return f"{failure.exception}: {failure.message}".partition("\n")[0]
