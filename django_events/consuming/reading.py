"""A record becomes the Event that a handler gets."""

import uuid
from typing import Any

from django_events import cloudevents
from django_events.consuming.letter_headers import event_of
from django_events.events import Event
from django_events.handlers import Handler
from django_events.kafka.record import ReceivedRecord
from django_events.models import Mark
from django_events.receiving import event_in


def read_event(handler: Handler, record: ReceivedRecord, attempt: int) -> Event[Any]:
    """The event in the record, with the payload of the handler's topic. Raises DecodeError saying what does not fit."""
    topic = handler.topic(record.topic)
    return event_in(
        record,
        topic.reading,
        first=first_record(handler, record),
        group=handler.group or None,
        handler=handler.name,
        attempt=attempt,
    )


def event_id(handler: Handler, record: ReceivedRecord, attributes: cloudevents.Attributes) -> str:
    """The event's id, or the one that it is given if it came without."""
    return attributes.id or cloudevents.made_up_id(first_record(handler, record), attributes)


def first_record(handler: Handler, record: ReceivedRecord) -> ReceivedRecord:
    """The record that the event was first in: this one, or the one that this dead letter comes from."""
    return event_of(record, handler.topic(record.topic).name) if handler.dead_letters_of else record


def mark_of(event: Event[Any]) -> Mark:
    """The mark that this handler has processed this event. The digest is what counts; the texts are for people."""
    topic, source, event_id = event.identity
    group, handler = event.group or "", event.handler or ""
    return Mark(
        key=mark_key(event.identity, group, handler),
        topic=topic,
        source="" if source == cloudevents.NO_SOURCE else for_people(source),
        event_id=for_people(event_id),
        group_name=group,
        handler=handler,
    )


def mark_key(identity: tuple[str, str, str], group: str, handler: str) -> uuid.UUID:
    """What identifies one event at one handler."""
    digest = cloudevents.digest(part.encode("utf-8", "surrogateescape") for part in (*identity, group, handler))
    return uuid.UUID(bytes=digest.digest())


def for_people(text: str) -> str:
    """The text as every database can store it: no NUL, no half characters."""
    readable = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return readable.replace("\0", "\\0")
