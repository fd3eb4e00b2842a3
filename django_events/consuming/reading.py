"""A record becomes the Event that a handler gets."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from django_events import cloudevents
from django_events.codecs import codec
from django_events.consuming.letter_headers import event_of
from django_events.events import Event
from django_events.exceptions import DecodeError
from django_events.handlers import Handler
from django_events.kafka.record import ReceivedRecord
from django_events.models import Mark
from django_events.topics import Topic

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_event(handler: Handler, record: ReceivedRecord, attempt: int) -> Event[Any]:
    """The event in the record, with the payload of the handler's topic. Raises DecodeError saying what does not fit."""
    attributes = cloudevents.decode(record)
    topic = handler.topic(record.topic)
    first = _first_record(handler, record)
    key = cloudevents.to_text(record.key)
    return Event(
        topic=record.topic,
        key=key,
        payload=_payload(topic, record, attributes),
        data=attributes.data,
        content_type=attributes.content_type or topic.codec.content_type,
        id=event_id(handler, record, attributes),
        source=attributes.source or "",
        type=attributes.type or topic.name,
        subject=attributes.subject or key,
        time=attributes.time,
        dataschema=attributes.dataschema,
        specversion=attributes.specversion,
        extensions=attributes.extensions,
        headers=attributes.headers,
        base_topic=topic.name,
        partition=record.partition.number,
        offset=record.offset,
        timestamp=moment(record.timestamp),
        group=handler.group or None,
        handler=handler.name,
        attempt=attempt,
        identity=cloudevents.identity(first, attributes),
    )


def event_id(handler: Handler, record: ReceivedRecord, attributes: cloudevents.Attributes) -> str:
    """The event's id, or the one that it is given if it came without."""
    return attributes.id or cloudevents.made_up_id(_first_record(handler, record), attributes)


def _first_record(handler: Handler, record: ReceivedRecord) -> ReceivedRecord:
    """The record that the event was first in: this one, or the one that this dead letter comes from."""
    return event_of(record, handler.topic(record.topic).name) if handler.dead_letters_of else record


def _payload(topic: Topic[Any], record: ReceivedRecord, attributes: cloudevents.Attributes) -> Any:
    """The payload; None in a tombstone, which is a record with a key and without a body on a compacted topic."""
    if record.value is None and record.key is not None and topic.spec.is_compacted:
        return None
    if attributes.data is None:
        raise DecodeError(
            f"The record {record} has no body; topic {topic.name!r} is read as {topic.codec.content_type}."
        )
    if not cloudevents.fits(attributes.content_type, topic.codec.content_type):
        raise DecodeError(
            f"The record {record} has content type {attributes.content_type!r}; topic {topic.name!r} "
            f"is read as {topic.codec.content_type}."
        )
    return codec.decode(topic.codec, attributes.data)


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


def moment(timestamp: int | None) -> datetime | None:
    """The record's time; None if there is none, or one that no calendar has: a client may write any number."""
    if timestamp is None:
        return None
    try:
        return _EPOCH + timedelta(milliseconds=timestamp)
    except OverflowError:
        return None


def for_people(text: str) -> str:
    """The text as every database can store it: no NUL, no half characters."""
    readable = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return readable.replace("\0", "\\0")
