"""What an operator does to dead letters: retry, discard, edit. For the admin and the shell alike.

Thread-safe; blocking for as long as the database takes, and never for a lock that somebody else holds.
"""

from collections.abc import Sequence

import msgspec
from django.db import router

from django_events import cloudevents, handlers, redaction
from django_events.codecs import codec
from django_events.conf import settings
from django_events.consuming import bodies
from django_events.exceptions import DeclarationError, DecodeError
from django_events.handlers import Handler
from django_events.kafka.record import Partition, ReceivedRecord
from django_events.models import Answer, DeadLetter


def database() -> str:
    """The alias of the database that has the dead letters: the one that the router names."""
    return router.db_for_write(DeadLetter)


def declared_handlers() -> frozenset[tuple[str, str]]:
    """Group and name of every handler that this site declares."""
    return frozenset((group.name, handler.name) for group in handlers.declared() for handler in group.handlers)


def retry(ids: Sequence[int]) -> Answer:
    """Have the letters tried at once, by whichever ``consume`` runs their group. Idempotent: a letter that is due,
    or runs, is not tried twice. Letters of handlers that this site does not declare are left alone."""
    return DeadLetter.objects.retry_now(ids, declared_handlers(), database())


def discard(ids: Sequence[int], reason: str, by: str) -> Answer:
    """Close the letters for good; ``by`` is the name of the person who says so. Idempotent."""
    return DeadLetter.objects.discard(ids, reason, by, database())


def edit(letter: DeadLetter, payload: str) -> Answer:
    """Have the letter tried at once with this payload (JSON) in place of its own, which is kept.

    Raises DecodeError if it does not fit the topic's type, or cannot be edited at all; nothing is changed then.
    """
    reader = handler_of(letter).topic(letter.topic).codec
    value = _edited(letter, payload, reader.content_type)
    record = letter_record(letter)._replace(value=value)
    codec.decode(reader, cloudevents.decode(record).data or b"")
    return DeadLetter.objects.edit(letter.pk, value, database())


def editable_payload(letter: DeadLetter) -> str:
    """The payload as text to edit: pretty JSON if it is JSON. What REDACT names is hidden. Never raises."""
    data = payload_of(letter) or b""
    try:
        payload = msgspec.json.decode(data)
        shown = redaction.payload(payload)
        # As it came if nothing is hidden: decoding and encoding would round long numbers.
        return msgspec.json.format(data if shown == payload else msgspec.json.encode(shown)).decode()
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return data.decode("utf-8", "backslashreplace").replace("\0", "\\0")


def payload_of(letter: DeadLetter) -> bytes | None:
    """The payload's bytes, edited or as they came; the whole body if the record cannot be read."""
    return bodies.payload_of(letter_record(letter))


def secrets_of(letter: DeadLetter) -> frozenset[str]:
    """The texts that REDACT hides in the letter, edited or as it came, to be looked for in its errors. Loads the
    payload if anything is hidden."""
    return bodies.secrets_of(original_record(letter), letter_record(letter)) if settings.REDACT else frozenset()


def letter_record(letter: DeadLetter) -> ReceivedRecord:
    """The record that is tried: the event as it came, with the edited body if there is one, at its first place."""
    value = letter.value if letter.edited_value is None else letter.edited_value
    return ReceivedRecord(
        partition=Partition(letter.topic, letter.partition),
        offset=letter.offset,
        key=None if letter.key is None else bytes(letter.key),
        value=None if value is None else bytes(value),
        headers=letter.header_list,
        timestamp=None,
    )


def original_record(letter: DeadLetter) -> ReceivedRecord:
    """The event as it came."""
    return letter_record(letter)._replace(value=None if letter.value is None else bytes(letter.value))


def handler_of(letter: DeadLetter) -> Handler:
    """The handler that the letter waits for. Raises DeclarationError if this site has none of that name and topic."""
    name = f"{letter.group_name}/{letter.handler}"
    found = next((each for group in handlers.declared() for each in group.handlers if str(each) == name), None)
    if found is None:
        raise DeclarationError(
            f"The handler {name} is not declared on this site, so the letter cannot be tried. It is kept. Declare the "
            "handler again (under this name=), or discard the letter."
        )
    if letter.topic not in [topic.name for topic in found.topics]:
        raise DeclarationError(
            f"The handler {name} does not handle topic {letter.topic} any more, so the letter cannot be tried. It is "
            "kept. Declare the handler for that topic again, or discard the letter."
        )
    return found


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
