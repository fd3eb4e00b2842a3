"""Dead letters for tests of what people see of them: every field may be given, whatever follows from the others."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django_events.kafka.record import Headers
from django_events.models import DeadLetter, Letter
from tests.letters import a_letter

FAILED = datetime(2024, 11, 10, 12, 30, tzinfo=UTC)

CLOUD_EVENT: Headers = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"e-1"),
    ("ce_type", b"ledger.entry-made"),
    ("ce_source", b"shop"),
    ("content-type", b"application/json"),
]


def letter(**given: Any) -> Letter:
    """A letter of the handler ledger/book, with a queue of its own; alike to others in how it failed."""
    fields: dict[str, Any] = {
        "event_key": uuid.uuid4(),
        "queue_key": uuid.uuid4(),
        "group_name": "ledger",
        "handler": "book",
        "partition": 1,
        "value": b'{"account": "ann", "number": 7}',
        "headers": CLOUD_EVENT,
        "first_failed": FAILED - timedelta(minutes=5),
        "last_failed": FAILED,
        "message": "the account is closed",
        "traceback": "Traceback (most recent call last):\n  …\nValueError: the account is closed",
        "fingerprint": uuid.UUID(int=1),
        "first_delay": 300.0,
    }
    return replace(a_letter(), **{**fields, **given})


def saved(*letters: Letter) -> list[DeadLetter]:
    """The rows of these letters, in their order."""
    DeadLetter.objects.project(letters, using="default")
    rows = {row.event_key: row for row in DeadLetter.objects.all()}
    return [rows[each.event_key] for each in letters]


def saved_letter(**given: Any) -> DeadLetter:
    """The row of one letter."""
    (row,) = saved(letter(**given))
    return row
