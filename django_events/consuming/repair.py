"""What an operator does to dead letters: retry, discard, edit. For the admin and the shell alike.

Thread-safe; blocking for as long as the database takes, and never for a lock that somebody else holds.
"""

from collections.abc import Sequence

import msgspec

from django_events import cloudevents, redaction
from django_events.codecs import codec
from django_events.consuming import bodies
from django_events.consuming.letters import (
    database_of_letters,
    declared_handlers,
    handler_of,
    letter_record,
    payload_of,
)
from django_events.exceptions import DecodeError
from django_events.models import Answer, DeadLetter


def retry(ids: Sequence[int]) -> Answer:
    """Have the letters tried at once, by whichever ``consume`` runs their group. Idempotent: a letter that is due,
    or runs, is not tried twice. Letters of handlers that this site does not declare are left alone."""
    return DeadLetter.objects.retry_now(ids, declared_handlers(), database_of_letters())


def discard(ids: Sequence[int], reason: str, by: str) -> Answer:
    """Close the letters for good; ``by`` is the name of the person who says so. Idempotent."""
    return DeadLetter.objects.discard(ids, reason, by, database_of_letters())


def edit(letter: DeadLetter, payload: str) -> Answer:
    """Have the letter tried at once with this payload (JSON) in place of its own, which is kept.

    Raises DecodeError if it does not fit the topic's type, or cannot be edited at all; nothing is changed then.
    """
    reader = handler_of(letter).topic(letter.topic).codec
    value = _edited(letter, payload, reader.content_type)
    record = letter_record(letter)._replace(value=value)
    codec.decode(reader, cloudevents.decode(record).data or b"")
    return DeadLetter.objects.edit(letter.pk, value, database_of_letters())


def editable_payload(letter: DeadLetter) -> str:
    """The payload as text to edit: pretty JSON if it is JSON. What REDACT names is hidden. Never raises."""
    data = payload_of(letter) or b""
    pretty = bodies.pretty_json(data)
    return bodies.printable(data.decode("utf-8", "backslashreplace")) if pretty is None else pretty


def _edited(letter: DeadLetter, payload: str, unsaid: str) -> bytes:
    """The record's body with this payload, hidden values put back; ``unsaid`` as in ``cloudevents.with_data``."""
    record = letter_record(letter)
    try:
        edited = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(f"This is not JSON: {error}.") from error
    try:
        restored = redaction.restore(edited, bodies.parsed(payload_of(letter)))
    except ValueError as error:
        raise DecodeError(str(error)) from error
    data = payload.encode() if restored == edited else msgspec.json.encode(restored)
    return cloudevents.with_data(record, data, unsaid)
