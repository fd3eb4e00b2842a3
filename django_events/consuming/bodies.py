"""What a record carries, as far as people look into it: its payload, the JSON in that, and what REDACT hides there.

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


def secrets_of(*records: ReceivedRecord) -> frozenset[str]:
    """The texts that REDACT hides in payloads and headers of these records, to be looked for in texts about them."""
    if not settings.REDACT:
        return frozenset()
    return frozenset[str]().union(*map(_secrets, records))


def _secrets(record: ReceivedRecord) -> frozenset[str]:
    headers = [(name, cloudevents.to_text(value)) for name, value in record.headers]
    return redaction.secrets(parsed(payload_of(record)), headers)
