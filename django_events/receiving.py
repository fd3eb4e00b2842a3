"""A record becomes an Event with a payload. Knows no handlers."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from django_events import cloudevents
from django_events.codecs import codec as codecs
from django_events.codecs.codec import Codec
from django_events.events import Event
from django_events.exceptions import DecodeError
from django_events.kafka.record import ReceivedRecord

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the records of one topic are read. Immutable."""

    topic: str
    """The topic that the events were sent to, also where they are read from one of dead letters."""
    codec: Codec[Any]
    is_compacted: bool
    """Whether a record without a body is a tombstone."""


def event_in(
    record: ReceivedRecord,
    reading: Reading,
    *,
    first: ReceivedRecord | None = None,
    group: str | None = None,
    handler: str | None = None,
    attempt: int | None = None,
) -> Event[Any]:
    """The event in the record. Raises DecodeError saying what does not fit.

    ``first`` is the record that the event was first in, where that is another one.
    """
    attributes = cloudevents.decode(record)
    first = first or record
    topic, partition = record.partition
    key = cloudevents.to_text(record.key)
    # By position: for a call with more than 15 names Python makes a dictionary, which takes five times as long.
    return Event(
        topic,
        key,
        _payload(record, reading, attributes),
        attributes.data,
        attributes.content_type or reading.codec.content_type,
        attributes.id or cloudevents.made_up_id(first, attributes),
        attributes.source or "",
        attributes.type or reading.topic,
        attributes.subject or key,
        attributes.time,
        attributes.dataschema,
        attributes.specversion,
        attributes.extensions,
        attributes.headers,
        reading.topic,
        partition,
        record.offset,
        moment(record.timestamp),
        group,
        handler,
        attempt,
        cloudevents.identity(first, attributes),
    )


@lru_cache(maxsize=64)  # many records have the same one
def moment(timestamp: int | None) -> datetime | None:
    """The record's time; None if there is none, or one that no calendar has: a client may write any number."""
    if timestamp is None:
        return None
    try:
        return _EPOCH + timedelta(0, 0, 0, timestamp)  # milliseconds; by name it takes twice as long
    except OverflowError:
        return None


def _payload(record: ReceivedRecord, reading: Reading, attributes: cloudevents.Attributes) -> Any:
    """The payload; None in a tombstone, which is a record with a key and without a body on a compacted topic."""
    codec = reading.codec
    if record.value is None and record.key is not None and reading.is_compacted:
        return None
    if attributes.data is None:
        raise DecodeError(f"The record {record} has no body; topic {reading.topic!r} is read as {codec.content_type}.")
    if not cloudevents.fits(attributes.content_type, codec.content_type):
        raise DecodeError(
            f"The record {record} has content type {attributes.content_type!r}; topic {reading.topic!r} "
            f"is read as {codec.content_type}."
        )
    return codecs.decode(codec, attributes.data)
