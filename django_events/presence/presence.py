"""This process's row in the table of processes, which one thread writes.

Nobody waits for it, and it holds no connection: it opens one for each time it has something to write. A database that
is away, or has no such table, is a line in the log.
"""

import atexit
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from django.core import mail
from django.db import Error as DatabaseError
from django.db import connections

from django_events import tables
from django_events.conf import settings
from django_events.models import Beat, Kind, Process
from django_events.presence.activity import Activity, Declared, encode, joined
from django_events.retry import Backoff
from django_events.trouble import Trouble

logger = logging.getLogger("django_events.presence")

FIRST = 1.0
"""Seconds until the row is made: a process that is over by then, such as a short command, costs nothing."""

INTERVAL = 10.0
"""Seconds between two times. ``models.processes.SILENT`` is some of them."""

PRUNED_EVERY = 600.0
"""Seconds between two looks for rows of processes that are no more."""

FAREWELL = 2.0
"""Seconds that a process which ends waits for its row to be deleted. A row that is left tells of a silent process."""

OUTAGE = Backoff(first=INTERVAL, max=30.0)
"""Seconds between two tries while the database does not take the row."""


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
        self._thread: _Beating | None = None

    def enter(self, part: Part) -> None:
        """The process does this from now on. Starts the thread at the first part. Idempotent, never blocks, never
        raises. Without tables, and under a test runner, nothing happens: there is nobody to see the row."""
        if tables.there_are_none() or hasattr(mail, "outbox"):
            return
        with self._lock:
            if part not in self._parts:
                self._parts.append(part)
            if self._thread is None:
                self._start(_Beating(self._beat))

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

    def _start(self, thread: "_Beating") -> None:
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


class _Beating(threading.Thread):
    """Writes the row from time to time, until it is stopped; then it deletes it."""

    def __init__(self, beat: Callable[[float], Beat]) -> None:
        super().__init__(name="django-events-presence", daemon=True)
        self._beat = beat
        self._key = uuid.uuid4()
        self._began = time.monotonic()
        self._is_written = False
        self._prune_due = 0.0
        self._stopping = threading.Event()
        self._trouble = Trouble("process_table", "Writing the row of this process", logger, OUTAGE)

    def stop(self, timeout: float) -> None:
        """Have the row deleted; wait for that as long as ``timeout`` seconds."""
        self._stopping.set()
        self.join(timeout)

    def run(self) -> None:
        pause = FIRST
        while not self._stopping.wait(pause):
            self._guarded(self._write)
            pause = max(INTERVAL, self._trouble.until - time.monotonic())
        if self._is_written:
            self._guarded(lambda using: Process.objects.remove(self._key, using))

    def _write(self, using: str) -> None:
        now = time.monotonic()
        Process.objects.beat(self._key, self._beat(now - self._began), using)
        self._is_written = True
        if now >= self._prune_due:
            Process.objects.prune(using)
            self._prune_due = now + PRUNED_EVERY
        self._trouble.ended()

    def _guarded(self, step: Callable[[str], None]) -> None:
        """Do one step with the database; whatever goes wrong, the process has more important things to do."""
        try:
            step(database())
        except DatabaseError as error:
            self._trouble.began(_reason(error))
        except Exception as error:
            self._trouble.began(repr(error))
        finally:
            with suppress(Exception):
                connections.close_all()


def _reason(error: DatabaseError) -> str:
    line = str(error).strip().partition("\n")[0]
    return f"{line} (run `manage.py migrate`)" if Process._meta.db_table in line else line


def database() -> str:
    """The database of the rows: the first of DATABASES. Every process of the site knows it, whatever it does, and it is
    the one that has our tables for sure; so nobody has to look in several places for what runs."""
    return next(iter(settings.DATABASES))


_inherited: list[object] = []

presence = Presence()

os.register_at_fork(after_in_child=presence.after_fork)


@atexit.register
def _say_farewell() -> None:
    presence.end()
