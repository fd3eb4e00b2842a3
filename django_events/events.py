"""What users send and receive: the Event. No encoding here."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Generic, TypeVar

import msgspec

Payload = TypeVar("Payload")

NO_EXTENSIONS: Mapping[str, str] = MappingProxyType({})


# Received events are made by position (receiving.py), and so are those that somebody has pickled, perhaps in another
# version: new attributes go to the end.
class Event(msgspec.Struct, Generic[Payload], frozen=True):
    """An event with its CloudEvents 1.0 attributes. Immutable and thread-safe. If you make one yourself, as in a test,
    name the attributes: their order may change.

    ``msgspec.structs.replace`` makes another of it. One that goes out has been encoded already: ``data`` and
    ``content_type`` are what will be sent.
    """

    topic: str
    """Without prefix."""
    key: str | None
    """Events of one topic and key keep their order. None: no order. In a received event, bytes that are
    not UTF-8 are escaped (``surrogateescape``)."""
    payload: Payload
    """The value, of the topic's payload type; None in a tombstone of a compacted topic."""
    data: bytes | None
    """The body in Kafka, byte for byte; None in a tombstone."""
    content_type: str
    """The media type of ``data``."""
    id: str
    """Identifies the event together with ``source``."""
    source: str
    """Who sent it: the setting SOURCE of the sending site."""
    type: str
    """What kind of event it is; the topic's name unless said otherwise."""
    subject: str | None
    """What it is about; the key unless said otherwise."""
    time: datetime | None
    """When it happened, with time zone; None in a received event that does not say."""
    dataschema: str | None
    """The name of the payload's schema; the payload type's name unless said otherwise."""
    specversion: str = "1.0"
    """The version of CloudEvents."""
    extensions: Mapping[str, str] = NO_EXTENSIONS
    """CloudEvents extension attributes by name, such as ``sequence``."""
    headers: tuple[tuple[str, str | None], ...] = ()
    """All other headers in their order. A name may repeat; a value may be None."""

    base_topic: str | None = None
    """Of a received event: the topic that it was sent to, also where ``topic`` is one of dead letters."""
    partition: int | None = None
    """Of a received event: the partition that it came from."""
    offset: int | None = None
    """Of a received event: its offset in the partition."""
    timestamp: datetime | None = None
    """Of a received event: the time that Kafka has for the record, in UTC."""
    group: str | None = None
    """Of a received event: the consumer group that handles it."""
    handler: str | None = None
    """Of a received event: the name of the handler that it is given to."""
    attempt: int | None = None
    """Of a received event: 1 at the first try of this handler since this process has the partition, then 2, …"""
    identity: tuple[str, str, str] = ("", "", "")
    """What makes the event unique for exactly-once handling: topic, source and id, where an event that came without
    an id has its partition and offset instead."""

    def header(self, name: str, default: str | None = None) -> str | None:
        """The first value of this header, or ``default`` if there is none. Names are case-sensitive, as in Kafka."""
        return next((value for given, value in self.headers if given == name), default)
