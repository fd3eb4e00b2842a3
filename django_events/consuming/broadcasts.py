"""All broadcast handlers that run in this process, whoever has started them: a web process, ``consume``, a ``Service``.

Importing this loads neither models nor librdkafka.
"""

import os
import threading
from typing import TYPE_CHECKING

from django_events import broadcasting
from django_events.exceptions import DeclarationError

if TYPE_CHECKING:
    from django_events.consuming.broadcast import Broadcast


class Running:
    """Those that have been started and not told to stop. Thread-safe; nothing blocks."""

    def __init__(self) -> None:
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._all: frozenset[Broadcast] = frozenset()

    def add(self, broadcast: "Broadcast") -> None:
        with self._lock:
            self._all |= {broadcast}

    def remove(self, broadcast: "Broadcast") -> None:
        """Idempotent."""
        with self._lock:
            self._all -= {broadcast}

    def latency(self, handler: str | None = None) -> float:
        """As ``Broadcast.latency``, of all; of a handler that runs more than once, that of the one furthest behind.
        Infinite where none runs. Raises DeclarationError for a name that is none."""
        return max((each.latency(handler) for each in self._that_run(handler)), default=float("inf"))

    def is_live(self, handler: str | None = None) -> bool:
        """As ``Broadcast.is_live``, of all; False where none runs. Errors as ``latency``."""
        found = self._that_run(handler)
        return bool(found) and all(each.is_live(handler) for each in found)

    def _that_run(self, handler: str | None) -> list["Broadcast"]:
        everything = self._all
        if handler is None:
            return [*everything]
        found = [each for each in everything if handler in each.names]
        if not found and handler not in (declared := [each.name for each in broadcasting.declared()]):
            names = ", ".join(declared) or "none"
            raise DeclarationError(f"No broadcast handler is named {handler!r}. Those that are declared: {names}.")
        return found

    def after_fork(self) -> None:
        """In a child process none of the parent's threads runs."""
        self._start_afresh()


running = Running()

os.register_at_fork(after_in_child=running.after_fork)
