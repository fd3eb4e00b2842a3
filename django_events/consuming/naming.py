"""How log lines name a record: by its place in Kafka, and by the id of its event."""

from typing import Any

from django_events import cloudevents
from django_events.consuming.reading import event_id
from django_events.events import Event
from django_events.exceptions import DecodeError
from django_events.handlers import Handler
from django_events.kafka.record import ReceivedRecord

LONGEST_ID = 100
"""Characters of an id that a line shows: whoever wrote the event chose them."""


def name_of_record(handler: Handler, record: ReceivedRecord) -> str:
    """Such as ``shop.order-placed[3]@17 (event 0198c0…)``. A record that cannot be read has a place only."""
    try:
        return name_at(str(record), event_id(handler, record, cloudevents.decode(record)))
    except DecodeError:
        return str(record)


def name_of_event(event: Event[Any]) -> str:
    """The same, of an event that a handler has got."""
    return name_at(f"{event.topic}[{event.partition}]@{event.offset}", event.id)


def name_at(place: str, event: str) -> str:
    """The same, of an event with this id at this place."""
    readable = event if event.isprintable() else ascii(event)[1:-1]
    return f"{place} (event {readable[:LONGEST_ID]})"
