"""How our log lines name an event for machines: the fields that they have beside their text.

All begin with ``event_``, so that they are no attribute of a LogRecord and nobody's own ``extra``.
"""

from typing import Any

FIELDS = (
    "event_id",
    "event_topic",
    "event_partition",
    "event_offset",
    "event_group",
    "event_handler",
    "event_attempt",
)

LONGEST_ID = 100
"""Characters of an id that a line shows: whoever wrote the event chose them."""


def fields(
    *,
    event: str | None = None,
    topic: str | None = None,
    partition: int | None = None,
    offset: int | None = None,
    group: str | None = None,
    handler: str | None = None,
    attempt: int | None = None,
) -> dict[str, Any]:
    """What is known, for ``extra=``; what is not, or is empty, is left out. ``event`` is the event's id. Cheap."""
    shown = None if event is None else readable(event)
    found = dict(zip(FIELDS, (shown, topic, partition, offset, group, handler, attempt), strict=True))
    return {name: value for name, value in found.items() if value not in (None, "")}


def readable(event_id: str) -> str:
    """The id as one line shows it, whatever is in it."""
    return in_one_line(event_id)[:LONGEST_ID]


def in_one_line(text: str) -> str:
    """The text; where something in it cannot be shown, all of it as Python writes it in ASCII."""
    return text if text.isprintable() else ascii(text)[1:-1]
