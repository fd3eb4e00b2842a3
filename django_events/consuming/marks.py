"""What rows keep of an event at a handler: keys that tell it from all others, and texts for people beside them."""

import uuid
from functools import lru_cache
from typing import Any

from django_events import cloudevents
from django_events.events import Event
from django_events.models import Mark


def mark_of(event: Event[Any]) -> Mark:
    """The mark that this handler has processed this event. The digest is what counts; the texts are for people."""
    topic, source, event_id = event.identity
    group, handler = event.group or "", event.handler or ""
    return Mark(
        _key(topic, source, event_id, group, handler),
        topic,
        "" if source == cloudevents.NO_SOURCE else for_people(source),
        for_people(event_id),
        group,
        handler,
    )


def mark_key(identity: tuple[str, str, str], group: str, handler: str) -> uuid.UUID:
    """What identifies one event at one handler."""
    return uuid.UUID(bytes=_key(*identity, group, handler))


def digest(*parts: str) -> uuid.UUID:
    """128 bits of all parts, also of what is no UTF-8 in them. Must stay as it is: earlier versions have written rows
    with it, and an event whose mark is not found is handled again."""
    return uuid.UUID(bytes=cloudevents.digest_of_measured(b"".join(map(_measured, parts))).digest())


def _key(topic: str, source: str, event_id: str, group: str, handler: str) -> bytes:
    """The digest of all five. What comes from declarations is remembered; ids and sources are as long as strangers
    want."""
    parts = _declared(topic) + _measured(source) + _measured(event_id) + _declared(group, handler)
    return cloudevents.digest_of_measured(parts).digest()


def _measured(part: str) -> bytes:
    return cloudevents.measured(part.encode("utf-8", "surrogateescape"))


@lru_cache(maxsize=256)
def _declared(*parts: str) -> bytes:
    return b"".join(map(_measured, parts))


def for_people(text: str) -> str:
    """The text as every database can store it: no NUL, no half characters."""
    if text.isascii() and "\0" not in text:  # as most are
        return text
    readable = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return readable.replace("\0", "\\0")
