"""How log lines name a record: by its place in Kafka, and by the id of its event; for people, and as fields."""

from typing import Any

from django_events import cloudevents
from django_events.consuming.reading import event_id
from django_events.events import Event
from django_events.exceptions import DecodeError
from django_events.handlers import Handler
from django_events.kafka.record import Partition, ReceivedRecord
from django_events.log_fields import fields, readable


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
    return f"{place} (event {readable(event)})"


def fields_of_record(handler: Handler, record: ReceivedRecord, attempt: int | None = None) -> dict[str, Any]:
    """What a line about this record at this handler has as ``extra``."""
    try:
        event: str | None = event_id(handler, record, cloudevents.decode(record))
    except DecodeError:
        event = None
    return fields_of_place(record.partition, record.offset, handler) | fields(event=event, attempt=attempt)


def fields_of_place(partition: Partition, offset: int | None, handler: Handler | None = None) -> dict[str, Any]:
    """The same, of a place in Kafka."""
    who = fields(group=handler.group, handler=handler.name) if handler else {}
    return fields(topic=partition.topic, partition=partition.number, offset=offset) | who
