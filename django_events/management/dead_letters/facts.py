"""What is told of a dead letter, as JSON's types, without what the setting REDACT hides."""

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from django_events import cloudevents, redaction
from django_events.conf import settings
from django_events.consuming import bodies
from django_events.consuming.letters import letter_record, secrets_of
from django_events.exceptions import DecodeError
from django_events.kafka.record import Headers
from django_events.models import DeadLetter, DeadLetterAttempt


@dataclass(frozen=True, slots=True)
class Hidden:
    """What nobody may see of one letter. Immutable."""

    hides: bool = False
    """Whether headers and payload are looked through at all."""
    secrets: frozenset[str] = frozenset()
    """Texts that are not to be seen anywhere else either."""

    def text(self, about: str) -> str:
        """The text without the secrets."""
        return redaction.text(about, self.secrets)


NOTHING = Hidden()


def hidden_of(letter: DeadLetter) -> Hidden:
    """What the setting REDACT hides of this letter. Loads the payload, if it hides anything."""
    return Hidden(True, secrets_of(letter)) if settings.REDACT else NOTHING


def summary(letter: DeadLetter, hidden: Hidden) -> dict[str, Any]:
    """What a list shows: all but what the event carries."""
    return {
        "id": letter.pk,
        "state": letter.state,
        "topic": letter.topic,
        "group": letter.group_name,
        "handler": letter.handler,
        "key": letter.key_text and hidden.text(letter.key_text),
        "event_id": hidden.text(letter.event_id),
        "exception": letter.exception,
        "message": hidden.text(letter.message),
        "attempts": letter.attempts,
        "retries": letter.retries,
        "first_failed": _moment(letter.first_failed),
        "last_failed": _moment(letter.last_failed),
        "tried_by_itself": letter.automatic,
        "next_try": _moment(letter.due_at) if letter.state == "waiting" else None,
        "closed_at": _moment(letter.closed_at),
        "closed_by": letter.closed_by,
        "reason": letter.reason,
    }


def everything(letter: DeadLetter, hidden: Hidden) -> dict[str, Any]:
    """The summary, the event's bytes, and where they are in Kafka."""
    key = None if letter.key is None else hidden.text(cloudevents.to_text(bytes(letter.key)) or "")
    return summary(letter, hidden) | {
        "key": _bytes(cloudevents.to_bytes(key)),
        "headers": [[name, _bytes(cloudevents.to_bytes(text))] for name, text in headers(letter, hidden)],
        "body": _bytes(_shown_body(letter, letter.value, hidden)),
        "edited_body": _bytes(_shown_body(letter, letter.edited_value, hidden)),
        "partition": letter.partition,
        "offset": letter.offset,
        "letter_partition": letter.letter_partition,
        "letter_offset": letter.letter_offset,
        "redacted": hidden.hides,
    }


def headers(letter: DeadLetter, hidden: Hidden) -> list[tuple[str, str | None]]:
    """The event's headers as texts, with the bytes escaped that are no UTF-8 (``surrogateescape``)."""
    pairs = _as_texts(letter.header_list)
    if not hidden.hides:
        return pairs
    return [(name, text and hidden.text(text)) for name, text in redaction.headers(pairs)]


def attempt(tried: DeadLetterAttempt, hidden: Hidden) -> dict[str, Any]:
    """One try, or those that made it a dead letter."""
    return {
        "attempts": tried.attempts,
        "began": _moment(tried.began),
        "ended": _moment(tried.ended),
        "exception": tried.exception,
        "message": hidden.text(tried.message),
        "traceback": hidden.text(tried.traceback),
        "host": tried.host,
    }


def _shown_body(letter: DeadLetter, body: bytes | memoryview | None, hidden: Hidden) -> bytes | None:
    """The body as it may be seen; what cannot be read as JSON has no places that the setting could name."""
    if body is None or not hidden.hides:
        return None if body is None else bytes(body)
    record = letter_record(letter)._replace(value=bytes(body))
    payload = bodies.parsed(bodies.payload_of(record))
    shown = redaction.payload(payload)
    if shown == payload:
        return record.value
    data = msgspec.json.encode(shown)
    try:
        return data if cloudevents.decode(record).data == record.value else cloudevents.with_data(record, data)
    except DecodeError:
        return redaction.HIDDEN.encode()


def _as_texts(given: Headers) -> list[tuple[str, str | None]]:
    return [(name, cloudevents.to_text(value)) for name, value in given]


def _bytes(value: bytes | None) -> dict[str, str | None] | None:
    """Bytes for another program: always in base64, and as text if they are one."""
    if value is None:
        return None
    value = bytes(value)
    try:
        text: str | None = value.decode()
    except UnicodeDecodeError:
        text = None
    return {"base64": base64.b64encode(value).decode(), "text": text}


def _moment(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
