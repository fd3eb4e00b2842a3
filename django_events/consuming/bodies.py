"""What a record carries, as far as people look into it: its payload, the JSON in that, what REDACT hides there, and
texts that can be shown and kept.

Pure functions, thread-safe; none raises.
"""

from typing import Any

import msgspec

from django_events import cloudevents, redaction
from django_events.conf import settings
from django_events.exceptions import DecodeError
from django_events.kafka.record import ReceivedRecord


def payload_of(record: ReceivedRecord) -> bytes | None:
    """The payload's bytes; the whole body if the record cannot be read."""
    try:
        return cloudevents.decode(record).data
    except DecodeError:
        return record.value


def parsed(data: bytes | None) -> Any:
    """The JSON in the bytes; None if they are none: then they have no places that could be named."""
    try:
        return msgspec.json.decode(data or b"null")
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def pretty_json(data: bytes) -> str | None:
    """The JSON in the bytes over several lines, without what REDACT hides; None if they are none."""
    try:
        payload = msgspec.json.decode(data)
        shown = redaction.payload(payload)
        # As it came if nothing is hidden: decoding and encoding would round long numbers.
        return msgspec.json.format(data if shown == payload else msgspec.json.encode(shown)).decode()
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def printable(text: str) -> str:
    """The text as every page, database and header can carry it: half characters and NUL are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def secrets_of(*records: ReceivedRecord) -> frozenset[str]:
    """The texts that REDACT hides in payloads and headers of these records, to be looked for in texts about them."""
    if not settings.REDACT:
        return frozenset()
    return frozenset[str]().union(*map(_secrets, records))


def _secrets(record: ReceivedRecord) -> frozenset[str]:
    headers = [(name, cloudevents.to_text(value)) for name, value in record.headers]
    return redaction.secrets(parsed(payload_of(record)), headers)
