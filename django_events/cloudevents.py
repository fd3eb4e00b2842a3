"""Events as CloudEvents 1.0 records, and back. Bodies are bytes here; codecs know payloads.

Written: the binary content mode of the Kafka protocol binding (attributes as ``ce_*`` headers, CloudEvents Kafka
binding 1.0.2, section 3.2). Read: that, the structured JSON mode (3.3), and records that are no CloudEvents at all.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from django_events.events import NO_EXTENSIONS, Event
from django_events.exceptions import DecodeError, EventTooLarge, InvalidEvent
from django_events.kafka import spec
from django_events.kafka.record import Headers, ReceivedRecord, Record

JSON = "application/json"
STRUCTURED = "application/cloudevents+json"
SEQUENCE_HEADER = "ce_sequence"
NO_SOURCE = "\0"
"""In the identity of an event without an id: nobody's source, so that nobody's id can be taken for its place."""

CORE = ("specversion", "id", "type", "source", "subject", "time", "dataschema")
"""The attributes that CloudEvents itself defines, without the content type, in the order in which we write them."""

_CONTENT_TYPE = "Content-Type"
"""What the content type is called among attributes, whose names in headers are all in lower case."""

_KNOWN = (*CORE, _CONTENT_TYPE)
"""What has a place of its own among the attributes of a record that is read."""

_Known: TypeAlias = list[str | None]
"""A text, or none, for each of ``_KNOWN``; an empty one counts as none."""

_Others: TypeAlias = tuple[tuple[str, str | None], ...]
"""Headers that are no attributes."""

_PLACE = {name: at for at, name in enumerate(_KNOWN)}
_IN_HEADER = {f"ce_{name}": _PLACE[name] for name in CORE} | {"content-type": _PLACE[_CONTENT_TYPE]}
"""The place of what a header holds whose name is written as almost everybody does."""

_EXTENSION_NAME = re.compile(r"[a-z0-9]{1,20}")
_RESERVED_EXTENSIONS = frozenset((*CORE, "datacontenttype", "data", "sequence"))


class Attributes(msgspec.Struct, frozen=True):
    """What a record says of itself, before a handler's topic makes its body a payload. Missing means None."""

    specversion: str
    id: str | None
    type: str | None
    source: str | None
    subject: str | None
    time: datetime | None
    dataschema: str | None
    content_type: str | None
    data: bytes | None
    extensions: Mapping[str, str]
    headers: tuple[tuple[str, str | None], ...]


# ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def encode(event: Event[Any]) -> Record:
    """The event as a record in binary content mode. Raises EventTooLarge above the topic's declared limit."""
    headers: Headers = [(f"ce_{name}", text.encode()) for name in CORE if (text := _text_of(event, name)) is not None]
    if event.data is not None:
        headers.append(("content-type", event.content_type.encode()))
    headers += [(f"ce_{name}", text.encode()) for name, text in event.extensions.items()]
    headers += [(name, to_bytes(text)) for name, text in event.headers]
    record = Record(event.topic, to_bytes(event.key), event.data, headers)
    _check_size(record)
    return record


def check_attributes(event: Event[Any]) -> None:
    """Raise InvalidEvent if a key, attribute, extension or header cannot be carried by Kafka and CloudEvents."""
    _check_text("key", event.key)
    _check_compaction(event)
    for name in ("id", "source", "type"):
        if not getattr(event, name):
            raise InvalidEvent(f"The event's {name} is empty. Give it a text, or leave it out for the default.")
    for name in ("id", "source", "type", "subject", "dataschema"):
        _check_text(name, getattr(event, name))
    _check_time(event.time)
    for name, value in event.extensions.items():
        _check_extension(name, value)
    for name, text in event.headers:
        _check_header(name, text)


def _check_compaction(event: Event[Any]) -> None:
    """What Kafka refuses, or would take for something else: events without a key, and without a body."""
    declared = spec.declared(event.topic)
    if declared and declared.is_compacted:
        if event.key is None:
            raise InvalidEvent(
                f"Topic {event.topic!r} is compacted: Kafka keeps its last event of each key. Send it with a key=."
            )
    elif event.data is None:
        raise InvalidEvent(
            f"An event without a body is a tombstone, and topic {event.topic!r} is not declared as compacted. Make "
            "events with event(), or declare Topic(…, compacted=True)."
        )
    if not isinstance(event.data, bytes | None):
        raise InvalidEvent("The event's data are no bytes. Make it with the topic's event().")


def to_bytes(text: str | None) -> bytes | None:
    """The text in UTF-8, with escaped bytes as they were; the opposite of ``to_text``."""
    return None if text is None else text.encode("utf-8", "surrogateescape")


def _text_of(event: Event[Any], attribute: str) -> str | None:
    value = getattr(event, attribute)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return None if value is None else str(value)


def _check_size(record: Record) -> None:
    declared = spec.declared(record.topic)
    limit = declared.max_bytes if declared else spec.DEFAULT_LIMIT
    size = spec.OVERHEAD + len(record.key or b"") + len(record.value or b"")
    size += sum(len(name.encode()) + len(value or b"") for name, value in record.headers)
    if size > limit:
        raise EventTooLarge(
            f"An event for topic {record.topic!r} has {size:,} bytes with key and headers; its limit is {limit:,}. "
            "Send less (a reference to where the data lies), or declare Topic(…, max_bytes=…)."
        )


def _check_text(what: str, text: object) -> None:
    if text is None:
        return
    if not isinstance(text, str):
        raise InvalidEvent(f"The event's {what} must be a text or None, not {text!r:.80}. Use str(…).")
    _check_encodable(what, text)
    if "\0" in text and what != "key":
        raise InvalidEvent(f"The event's {what} {text!r:.80} has a NUL character. Remove it.")


def _check_encodable(what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidEvent(
            f"The event's {what} {text!r:.80} has half a character (a lone surrogate). Remove it."
        ) from error


def _check_time(time: object) -> None:
    if not isinstance(time, datetime) or time.tzinfo is None:
        raise InvalidEvent(f"The event's time must be a datetime with time zone, not {time!r:.80}.")


def _check_extension(name: object, value: object) -> None:
    if not isinstance(name, str) or not _EXTENSION_NAME.fullmatch(name) or name in _RESERVED_EXTENSIONS:
        raise InvalidEvent(
            f"{name!r:.80} is not the name of a CloudEvents extension. Use 1 to 20 of a–z and 0–9, and none of "
            f"{', '.join(sorted(_RESERVED_EXTENSIONS))}."
        )
    if not isinstance(value, str):
        raise InvalidEvent(f"The extension {name!r} must be a text, not {value!r:.80}. Use str(…).")
    _check_encodable(f"extension {name!r}", value)


def _check_header(name: object, text: object) -> None:
    if not isinstance(name, str) or not name or "\0" in name:
        raise InvalidEvent(f"{name!r:.80} is not the name of a header. Use a text that is not empty, without NUL.")
    _check_encodable("header name", name)
    lowered = name.lower()
    if lowered.startswith("ce_") or lowered == "content-type" or lowered.startswith("dead-letter-"):
        raise InvalidEvent(
            f"The header {name!r} is written by django_events itself. Use the event's attributes, "
            "extensions={…}, or another name."
        )
    if text is not None and not isinstance(text, str):
        raise InvalidEvent(f"The header {name!r} must be a text or None, not {text!r:.80}. Use str(…).")
    if text is not None:
        _check_encodable(f"header {name!r}", text)


# ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def decode(record: ReceivedRecord) -> Attributes:
    """What the record says of itself. Raises DecodeError if it cannot be read; never anything else."""
    if record.unreadable:
        raise DecodeError(f"The record {record} has headers that cannot be read: {record.unreadable}.")
    try:
        known, extensions, others = _sorted_out(record.headers, bytes.decode)  # takes half as long as the other
    except UnicodeDecodeError:
        known, extensions, others = _sorted_out(record.headers, _escaped)
    content_type = known[-1]
    if content_type and _media_type(content_type) == STRUCTURED:
        return _decode_structured(record)
    return _attributes(known, record.value, extensions, others)


def _sorted_out(headers: Headers, decode: Callable[[bytes], str]) -> tuple[_Known, dict[str, str], _Others]:
    """The attributes that CloudEvents defines, each in its place, the others by name, and what is no attribute."""
    known: _Known = [None] * len(_KNOWN)
    extensions: dict[str, str] = {}
    others: list[tuple[str, str | None]] = []
    for name, value in headers:  # this loop runs for each header of every event
        text = None if value is None else decode(value)
        at = _IN_HEADER.get(name)
        if at is None:
            attribute = _attribute_in(name)
            if attribute is None:
                others.append((name, text))
                continue
            at = _PLACE.get(attribute)
            if at is None:
                extensions.setdefault(attribute, text or "")
                continue
        if known[at] is None:  # of several the first one counts
            known[at] = text or ""
    return known, extensions, tuple(others)


def with_data(record: ReceivedRecord, data: bytes, unsaid: str = JSON) -> bytes:
    """The body of the record with other JSON as its data, in the content mode that the record has.

    ``unsaid`` is the content type of a record that has none. Raises DecodeError if the record cannot be read, or its
    data is not JSON: then JSON cannot take its place.
    """
    content_type = decode(record).content_type or unsaid
    if not is_json(content_type):
        raise DecodeError(f"The payload is {content_type}, and only JSON can be edited.")
    if not _is_structured(record):
        return data
    envelope = msgspec.json.decode(record.value or b"", type=dict[str, msgspec.Raw])
    envelope.pop("data_base64", None)
    return msgspec.json.encode(envelope | {"data": msgspec.Raw(data)})


def is_json(content_type: str) -> bool:
    """Whether this is the media type of some kind of JSON."""
    media_type = _media_type(content_type)
    return media_type in ("application/json", "text/json") or media_type.endswith("+json")


def _is_xml(content_type: str) -> bool:
    media_type = _media_type(content_type)
    return media_type in ("application/xml", "text/xml") or media_type.endswith("+xml")


@lru_cache(maxsize=256)
def fits(content_type: str | None, wanted: str) -> bool:
    """Whether a record of this content type can be read as the wanted one; a record that has none can.

    All kinds of JSON are one, and all of XML; parameters, such as a charset, do not count.
    """
    if content_type is None or _media_type(content_type) == _media_type(wanted):
        return True
    return any(is_kind(content_type) and is_kind(wanted) for is_kind in (is_json, _is_xml))


def identity(record: ReceivedRecord, attributes: Attributes) -> tuple[str, str, str]:
    """What makes this event unique: topic, source and id; without an id its first place in Kafka."""
    if attributes.id:
        return (record.topic, attributes.source or "", attributes.id)
    return place_of(record)


def place_of(record: ReceivedRecord) -> tuple[str, str, str]:
    """The identity of an event that has no other."""
    return (record.topic, NO_SOURCE, f"{record.partition.number}@{record.offset}")


def made_up_id(record: ReceivedRecord, attributes: Attributes) -> str:
    """An id for an event that came without one: the same whenever the same record is read."""
    parts = (
        attributes.data or b"",
        (attributes.content_type or JSON).encode("utf-8", "surrogateescape"),
        (attributes.source or "").encode("utf-8", "surrogateescape"),
        (attributes.time.isoformat() if attributes.time else "").encode(),
        f"{record.topic} {record.partition.number} {record.offset}".encode(),
    )
    return digest(parts).hexdigest()


def digest(parts: Iterable[bytes]) -> "hashlib.blake2b":
    """A 128-bit digest of the parts; where one ends and the next begins counts."""
    return digest_of_measured(b"".join(map(measured, parts)))


def measured(part: bytes) -> bytes:
    """A part of what is digested, with its length before it."""
    return len(part).to_bytes(8, "big") + part


def digest_of_measured(parts: bytes) -> "hashlib.blake2b":
    """The digest of parts that are measured, and follow each other."""
    return hashlib.blake2b(parts, digest_size=16)


def to_text(value: bytes | None) -> str | None:
    """The bytes as text; what is not UTF-8 is escaped (``surrogateescape``), so nothing is lost."""
    return None if value is None else _escaped(value)


def _escaped(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _is_structured(record: ReceivedRecord) -> bool:
    content_type = next((value for name, value in record.headers if _attribute_in(name) == _CONTENT_TYPE), None)
    return _media_type(to_text(content_type) or "") == STRUCTURED


@lru_cache(maxsize=256)
def _attribute_in(header: str) -> str | None:
    """The attribute that a header of this name holds in binary content mode; None if it holds none."""
    lowered = header.lower()
    if lowered == "content-type":
        return _CONTENT_TYPE
    return lowered[3:] if lowered.startswith("ce_") else None


def _decode_structured(record: ReceivedRecord) -> Attributes:
    try:
        envelope = msgspec.json.decode(record.value or b"", type=dict[str, msgspec.Raw])
        unsaid = "" if "data_base64" in envelope else JSON
        data = _structured_data(envelope)
        texts = {name: _scalar(name, raw) for name, raw in envelope.items()}
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(f"The record {record} is not a CloudEvent in JSON: {error}") from error
    others = tuple((name, to_text(value)) for name, value in record.headers if name.lower() != "content-type")
    content_type = texts.pop("datacontenttype", "") or unsaid
    known = [*(texts.pop(name, None) for name in CORE), content_type]
    return _attributes(known, data, {name: text for name, text in texts.items() if text is not None}, others)


def _structured_data(envelope: dict[str, msgspec.Raw]) -> bytes | None:
    """``data`` (a JSON value, or JSON in a text, as some writers do) or ``data_base64``; both leave the envelope."""
    encoded, plain = envelope.pop("data_base64", None), envelope.pop("data", None)
    if encoded is not None:
        text = msgspec.json.decode(encoded, type=str)
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ValueError(f"data_base64: {error}") from error
    if plain is None:
        return None
    data = bytes(plain)
    return msgspec.json.decode(data, type=str).encode() if data.startswith(b'"') else data


def _scalar(name: str, raw: msgspec.Raw) -> str | None:
    value = msgspec.json.decode(raw)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        raise ValueError(f"attribute {name!r} is not a text or number")
    return None if value is None else str(value)


def _attributes(known: _Known, data: bytes | None, extensions: dict[str, str], others: _Others) -> Attributes:
    specversion, id, type, source, subject, time, dataschema, content_type = known
    return Attributes(
        specversion or "1.0",
        id or None,
        type or None,
        source or None,
        subject or None,
        _time(time),
        dataschema or None,
        content_type or None,
        data,
        extensions or NO_EXTENSIONS,
        others,
    )


def _time(text: str | None) -> datetime | None:
    """The time, or None if it cannot be read: a handler seldom needs it, so it is no reason to refuse the event."""
    try:
        time = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time and time.tzinfo is None else time


@lru_cache(maxsize=256)
def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()
