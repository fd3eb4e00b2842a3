"""The event that is being handled, for the site's own log lines: a filter for the setting LOGGING."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any

from django_events.events import Event
from django_events.log_fields import FIELDS, fields

_current: ContextVar[Sequence[Event[Any]]] = ContextVar("django_events.current", default=())


def current_events() -> Sequence[Event[Any]]:
    """The events of the call of a handler that is running in this thread or task: one, those of a batch, or none."""
    return _current.get()


@contextmanager
def about(*events: Event[Any]) -> Iterator[None]:
    """What is logged inside is about these events. We open it around every call of a handler; open it yourself for one
    event of a batch, or in a thread that a handler starts."""
    token = begin_about(events)
    try:
        yield
    finally:
        end_about(token)


def begin_about(events: Sequence[Event[Any]]) -> "Token[Sequence[Event[Any]]]":
    """As ``about``, for what happens with each event; give what it returns to ``end_about``, in the same thread."""
    return _current.set(events)


def end_about(token: "Token[Sequence[Event[Any]]]") -> None:
    """What is logged from here on is about what it was about before."""
    _current.reset(token)


class CurrentEvent(logging.Filter):
    """Gives each log record the fields ``event_id``, ``event_topic``, ``event_partition``, ``event_offset``,
    ``event_group``, ``event_handler`` and ``event_attempt`` of the event that is being handled; of several events, what
    they have in common. Lets every record through.

    It belongs to a *handler* of the setting LOGGING: filters of a logger do not see what comes from loggers below it.
    """

    def __init__(self, nothing: Any = "") -> None:
        """``nothing`` is the value of a field that has none, as outside of handlers."""
        super().__init__()
        self._nothing = nothing

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields; those of a record that has some already, as our own lines do, are only made complete."""
        has_its_own = any(hasattr(record, name) for name in FIELDS)
        found = {} if has_its_own else fields_of(_current.get())
        for name in FIELDS:
            if not hasattr(record, name):
                setattr(record, name, found.get(name, self._nothing))
        return True


def fields_of(events: Sequence[Event[Any]]) -> dict[str, Any]:
    """What these events have in common of the fields; nothing if there are none."""
    all_fields = [_fields_of_one(event) for event in events]
    common = all_fields[0] if all_fields else {}
    return {name: value for name, value in common.items() if all(each.get(name) == value for each in all_fields)}


def _fields_of_one(event: Event[Any]) -> dict[str, Any]:
    return fields(
        event=event.id,
        topic=event.topic,
        partition=event.partition,
        offset=event.offset,
        group=event.group,
        handler=event.handler,
        attempt=event.attempt,
    )
