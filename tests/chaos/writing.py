"""Writing an event so that the history knows all of it beforehand, and the database whether it was committed."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from django_events import Event, Topic
from tests.chaos.facts import Intent
from tests.chaos.history import note
from tests.chaos.models import Change

Payload = TypeVar("Payload")


def write(
    topic: Topic[Payload], payload: Payload, key: str | None, transaction: str, number: int | None = None
) -> None:
    """Send one event in the caller's transaction."""
    at = time.time()
    event = topic.send(payload, key=key)
    _record([event], at, transaction, {event.id: number})


def write_many(
    topic: Topic[Payload], events: Sequence[Event[Payload]], transaction: str, numbers: Mapping[str, int | None]
) -> None:
    """Send events in the caller's transaction, in one statement; ``numbers`` are by event id."""
    at = time.time()
    topic.send_many(events)
    _record(events, at, transaction, numbers)


def _record(events: Sequence[Event[Any]], at: float, transaction: str, numbers: Mapping[str, int | None]) -> None:
    Change.objects.bulk_create(Change(event_id=event.id) for event in events)
    note(*[_intent(event, at, transaction, numbers[event.id]) for event in events])


def _intent(event: Event[Any], at: float, transaction: str, number: int | None) -> Intent:
    return Intent(
        at=at,
        event=event.id,
        topic=event.topic,
        key=event.key,
        body=(event.data or b"").decode(),
        headers=tuple(_headers(event)),
        transaction=transaction,
        number=number,
    )


def _headers(event: Event[Any]) -> list[tuple[str, str | None]]:
    """What CloudEvents wants a record's headers to be, written down independently of the product's own code."""
    assert event.time
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": event.id,
        "ce_type": event.topic,
        "ce_source": event.source,
        "ce_subject": event.key,
        "ce_time": event.time.isoformat().replace("+00:00", "Z"),
        "ce_dataschema": type(event.payload).__name__,
        "content-type": "application/json",
    }
    found = [(name, value) for name, value in attributes.items() if value is not None]
    return [*found, *[(f"ce_{name}", value) for name, value in event.extensions.items()], *event.headers]
