"""Dead letters for tests that need no Kafka."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

from django_events.consuming import letter_projection
from django_events.consuming.failure_report import fingerprint
from django_events.consuming.marks import mark_key
from django_events.models import DeadLetter, Letter
from tests.waiting import wait_for

_numbers = count(1)


def a_letter(event_id: str = "", key: str | None = "ann", **changes: Any) -> Letter:
    """A letter of its own event, unless ``event_id`` says which, of the exactly-once handler of the tests' ledger."""
    number = next(_numbers)
    event_id = event_id or f"event-{number}"
    letter = Letter(
        letter_key=uuid.uuid4(),
        event_key=uuid.UUID(int=0),
        queue_key=None,
        topic="ledger.entry-made",
        group_name="clinic",
        handler="cure",
        partition=0,
        offset=number,
        letter_partition=0,
        letter_offset=number,
        event_id=event_id,
        key=None if key is None else key.encode("utf-8", "surrogateescape"),
        key_text=key,
        value=b'{"account":"ann","number":%d}' % number,
        headers=[("ce_id", event_id.encode()), ("ce_source", b"tests"), ("content-type", b"application/json")],
        attempts=3,
        first_failed=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        last_failed=datetime(2026, 1, 2, 3, 5, 5, tzinfo=UTC),
        exception="ValueError",
        message=f"entry {number} cannot be booked",
        traceback="Traceback (most recent call last):\n  …\nValueError\n",
        fingerprint=uuid.UUID(int=0),
        automatic=True,
        first_delay=30.0,
    )
    letter = replace(letter, **changes)
    where = (letter.group_name, letter.handler)
    return replace(
        letter,
        event_key=mark_key((letter.topic, "tests", event_id), *where),
        queue_key=None if key is None else uuid.uuid5(uuid.NAMESPACE_OID, f"{where} {letter.topic} {key}"),
        fingerprint=fingerprint(*where, letter.topic, letter.exception, letter.message),
    )


def project(*letters: Letter) -> list[DeadLetter]:
    """Bring the letters in; all rows, oldest first."""
    letter_projection.project(letters)
    return list(DeadLetter.objects.order_by("pk"))


def the_letter() -> DeadLetter:
    """Wait for the first letter."""
    return wait_for(lambda: list(DeadLetter.objects.order_by("pk")[:1]))[0]
