"""Which handlers run at this moment in this process, each in a worker's thread, and for how long they have."""

import os
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from django_events.consuming.naming import name_of_event
from django_events.events import Event
from django_events.handlers import Handler
from django_events.logging import begin_about, end_about, fields_of


class Call:
    """One call of a user's function. While it is entered, it is the one that the calling thread is in, and what that
    logs is about these events. Enter it once, in the thread that made it."""

    __slots__ = ("_token", "began", "events", "handler")

    def __init__(self, handler: Handler, events: Sequence[Event[Any]]) -> None:
        self.handler = handler
        self.events = events
        self.began = time.monotonic()
        """When it was made."""

    def __enter__(self) -> "Call":
        _running[threading.get_ident()] = self
        self._token = begin_about(self.events)
        return self

    def __exit__(self, *_: object) -> None:
        end_about(self._token)
        _running.pop(threading.get_ident(), None)

    def __str__(self) -> str:
        others = f" and {len(self.events) - 1} more" if len(self.events) > 1 else ""
        return f"Handler {self.handler} with record {name_of_event(self.events[0])}{others}"

    @property
    def fields(self) -> dict[str, Any]:
        """What a line about it has as ``extra``."""
        return fields_of(self.events)


_running: dict[int, Call] = {}

os.register_at_fork(after_in_child=_running.clear)  # its threads get the names of the parent's


def running(threads: Iterable[threading.Thread]) -> list[Call]:
    """The calls that these threads are in. Thread-safe."""
    return [call for each in threads if each.ident is not None and (call := _running.get(each.ident))]
