"""A dead letter's payload as people read it: pretty JSON, text or bytes; cut, and without what REDACT hides."""

from typing import NamedTuple

import msgspec
from django.utils.translation import gettext as _

from django_events import cloudevents, redaction
from django_events.cloudevents import Attributes
from django_events.consuming import bodies
from django_events.consuming.letters import letter_record, original_record
from django_events.exceptions import DecodeError
from django_events.kafka.record import ReceivedRecord
from django_events.models import DeadLetter

SHOWN = 100_000
"""Characters that a page shows."""

_BYTES_A_LINE = 16


class Shown(NamedTuple):
    """A payload on a page."""

    text: str
    kind: str
    """What the text is, for people."""
    is_cut: bool
    size: int
    """Bytes of the whole."""


def shown(data: bytes | None) -> Shown:
    """What a page shows of these bytes. Never raises."""
    if data is None:
        return Shown("", _("no payload (a tombstone)"), False, 0)
    text, kind = _readable(data)
    text = bodies.printable(text)
    return Shown(text[:SHOWN], kind, len(text) > SHOWN, len(data))


def download(data: bytes | None) -> bytes:
    """The bytes, without what is hidden."""
    payload = bodies.parsed(data)
    hidden = redaction.payload(payload)
    return data or b"" if hidden == payload else msgspec.json.encode(hidden)


def attributes_of(record: ReceivedRecord) -> Attributes | str:
    """What the record says of itself, or why it cannot be read."""
    try:
        return cloudevents.decode(record)
    except DecodeError as error:
        return str(error)


def payload_of(letter: DeadLetter, *, edited: bool) -> bytes | None:
    """The payload's bytes; the whole body if the record cannot be read."""
    return bodies.payload_of(letter_record(letter) if edited else original_record(letter))


def _readable(data: bytes) -> tuple[str, str]:
    pretty = bodies.pretty_json(data)
    return _plain(data) if pretty is None else (pretty, _("JSON"))


def _plain(data: bytes) -> tuple[str, str]:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return _hex(data), _("bytes that are no text, in hexadecimal")
    if text.isprintable() or all(letter.isprintable() or letter in "\r\n\t" for letter in text):
        return text, _("text, but no JSON")
    return _hex(data), _("bytes that are no text, in hexadecimal")


def _hex(data: bytes) -> str:
    """Like a debugger: the place, the bytes, and the same in letters where there are any."""
    lines = range(0, min(len(data), SHOWN // 4), _BYTES_A_LINE)
    return "\n".join(_hex_line(start, data[start : start + _BYTES_A_LINE]) for start in lines)


def _hex_line(start: int, part: bytes) -> str:
    letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
    return f"{start:06x}  {part.hex(' '):<{3 * _BYTES_A_LINE}} {letters}"
