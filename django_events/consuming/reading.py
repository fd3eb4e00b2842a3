"""A record becomes the Event that a handler gets."""

from typing import Any

from django_events import cloudevents
from django_events.consuming.letter_headers import event_of
from django_events.events import Event
from django_events.handlers import Handler
from django_events.kafka.record import ReceivedRecord
from django_events.receiving import event_in


def read_event(handler: Handler, record: ReceivedRecord, attempt: int) -> Event[Any]:
    """The event in the record, with the payload of the handler's topic. Raises DecodeError saying what does not fit."""
    reading = handler.topic(record.partition.topic).reading
    first = first_record(handler, record)
    return event_in(record, reading, first=first, group=handler.group or None, handler=handler.name, attempt=attempt)


def event_id(handler: Handler, record: ReceivedRecord, attributes: cloudevents.Attributes) -> str:
    """The event's id, or the one that it is given if it came without."""
    return attributes.id or cloudevents.made_up_id(first_record(handler, record), attributes)


def first_record(handler: Handler, record: ReceivedRecord) -> ReceivedRecord:
    """The record that the event was first in: this one, or the one that this dead letter comes from."""
    return event_of(record, handler.topic(record.topic).name) if handler.dead_letters_of else record
