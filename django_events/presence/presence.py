"""What this process says of itself in the table of processes: who does what in it, and when that begins and ends."""

import atexit
import logging
import os
import socket
import threading
from typing import TYPE_CHECKING, Protocol

from django_events import tables
from django_events.models import Beat, Kind
from django_events.presence.activity import Activity, Declared, encode, joined
from django_events.under_test import is_under_test

if TYPE_CHECKING:
    from django_events.presence.beating import Beating

logger = logging.getLogger("django_events.presence")

FAREWELL = 2.0
"""Seconds that a process which ends waits for its row to be deleted. A row that is left tells of a silent process."""


class Part(Protocol):
    """Something that a process does, and that others want to know of."""

    @property
    def kind(self) -> Kind:
        """What a process is that does nothing else."""

    def activity(self) -> Activity:
        """What it does right now. Called in a thread of ours every ten seconds: thread-safe, never blocks."""


class Presence:
    """What this process says of itself. Thread-safe."""

    def __init__(self) -> None:
        self.version = ""
        """Of django_events."""
        self.declared: Declared = {}
        """The handlers that the site's code declares. Both are set once the apps are loaded."""
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._parts: list[Part] = []
        self._thread: Beating | None = None

    def enter(self, part: Part) -> None:
        """The process does this from now on. Starts the thread at the first part. Idempotent, never blocks, never
        raises. Without tables, and under a test runner, nothing happens: there is nobody to see the row."""
        if tables.there_are_none() or is_under_test():
            return
        with self._lock:
            if part not in self._parts:
                self._parts.append(part)
            if self._thread is None:
                self._start()

    def leave(self, part: Part) -> None:
        """The process does this no more. After its last part the row is deleted, which is waited for briefly.
        Idempotent, never raises."""
        with self._lock:
            if part in self._parts:
                self._parts.remove(part)
            thread = None if self._parts else self._thread
            if thread:
                self._thread = None
        if thread:
            thread.stop(FAREWELL)

    def end(self) -> None:
        """The process ends, whatever it still does."""
        with self._lock:
            thread, self._thread, self._parts = self._thread, None, []
        if thread:
            thread.stop(FAREWELL)

    def after_fork(self) -> None:
        """In a child process, which does nothing of what its parent does: forget it. What the child does itself gets a
        row of its own."""
        _inherited.append((self._lock, self._thread))
        self._start_afresh()

    def _start(self) -> None:
        # Only now: most processes of a site, such as short commands, never get here, nor need what it needs.
        from django_events.presence.beating import Beating

        thread = Beating(self._beat)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or Python is about to end: no reason to fail the caller
            logger.warning("No thread could be started to write the row of this process: %s", error)
        else:
            self._thread = thread

    def _beat(self, age: float) -> Beat:
        parts = [*self._parts]
        order = [*Kind]
        kinds = sorted((part.kind for part in parts), key=order.index)
        return Beat(
            kind=kinds[0] if kinds else Kind.RELAY,
            host=socket.gethostname()[:255],
            pid=os.getpid(),
            version=self.version[:50],
            age=age,
            activity=encode(joined([part.activity() for part in parts], self.declared)),
        )


_inherited: list[object] = []

presence = Presence()

os.register_at_fork(after_in_child=presence.after_fork)


@atexit.register
def _say_farewell() -> None:
    presence.end()
