"""What rows keep of an event at a handler: keys that tell it from all others, and texts for people beside them."""

import uuid
from typing import Any

from django_events import cloudevents
from django_events.events import Event
from django_events.models import Mark


def mark_of(event: Event[Any]) -> Mark:
    """The mark that this handler has processed this event. The digest is what counts; the texts are for people."""
    topic, source, event_id = event.identity
    group, handler = event.group or "", event.handler or ""
    return Mark(
        key=_digest(*event.identity, group, handler),
        topic=topic,
        source="" if source == cloudevents.NO_SOURCE else for_people(source),
        event_id=for_people(event_id),
        group_name=group,
        handler=handler,
    )


def mark_key(identity: tuple[str, str, str], group: str, handler: str) -> uuid.UUID:
    """What identifies one event at one handler."""
    return digest(*identity, group, handler)


def digest(*parts: str) -> uuid.UUID:
    """128 bits of all parts, also of what is no UTF-8 in them. Must stay as it is: earlier versions have written rows
    with it, and an event whose mark is not found is handled again."""
    return uuid.UUID(bytes=_digest(*parts))


def _digest(*parts: str) -> bytes:
    return cloudevents.digest([part.encode("utf-8", "surrogateescape") for part in parts]).digest()


def for_people(text: str) -> str:
    """The text as every database can store it: no NUL, no half characters."""
    if text.isascii() and "\0" not in text:  # as most are
        return text
    readable = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return readable.replace("\0", "\\0")
