"""``list``: a table for people, or JSON for programs."""

from typing import Any

from django.utils import timezone

from django_events.conf import settings
from django_events.management.console import Console
from django_events.management.dead_letters import facts, selection
from django_events.management.table import Column, Table
from django_events.models import DeadLetter

ROWS = 100
"""Letters in a table, unless --limit says otherwise."""

CHUNK = 500
"""Letters in memory at a time."""

CHUNK_WITH_PAYLOADS = 50
"""Fewer where their payloads are needed, to know what is hidden."""

COLUMNS = (
    Column(title="ID", right=True),
    Column(title="STATE"),
    Column(title="LAST FAILURE"),
    Column(title="TRIES", right=True, optional=True),
    Column(title="TOPIC", least=14, optional=True),
    Column(title="HANDLER", least=14),
    Column(title="KEY", least=6),
    Column(title="ERROR", least=20),
)


def run(options: dict[str, Any], console: Console) -> None:
    """List what matches. Says on stderr if there are more than are shown."""
    rows = selection.letters(options)
    limit = options["limit"] or (None if options["json"] else ROWS)
    table = Table(COLUMNS, console.width)
    shown = 0
    for chunk in selection.last_failed_first(*_lean(rows), limit):
        shown += len(chunk)
        if options["json"]:
            for letter in chunk:
                console.say_json(facts.summary(letter, facts.hidden_of(letter)))
        else:
            for line in table.lines([_cells(letter) for letter in chunk]):
                console.say(line)
    if not shown:
        console.note("No dead letter matches.")
    elif shown == limit and rows.count() > shown:
        console.note(f"These are {shown:,} of {rows.count():,} dead letters that match. See more with --limit.")


def _lean(rows: selection.Letters) -> tuple[selection.Letters, int]:
    """The rows with no more than is needed, and how many of them at a time."""
    if settings.REDACT:
        return rows, CHUNK_WITH_PAYLOADS
    return rows.defer("key", "value", "edited_value", "headers"), CHUNK


def _cells(letter: DeadLetter) -> list[str]:
    told = facts.summary(letter, facts.hidden_of(letter))
    return [
        str(told["id"]),
        told["state"],
        f"{timezone.localtime(letter.last_failed):%Y-%m-%d %H:%M:%S}",
        f"{told['attempts']:,}",
        told["topic"],
        f"{told['group']}/{told['handler']}",
        "" if told["key"] is None else told["key"],
        f"{told['exception'].rpartition('.')[2]}: {told['message']}".removesuffix(": "),
    ]
