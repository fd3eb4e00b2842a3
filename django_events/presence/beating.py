"""The thread that writes this process's row in the table of processes.

Nobody waits for it, and it holds no connection: it opens one for each time it has something to write. A database that
is away, or has no such table, is a line in the log.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress

from django.db import Error as DatabaseError
from django.db import connections

from django_events.conf import settings
from django_events.models import Beat, Process
from django_events.retry import Backoff
from django_events.trouble import Trouble

logger = logging.getLogger("django_events.presence")

FIRST = 1.0
"""Seconds until the row is made: a process that is over by then, such as a short command, costs nothing."""

INTERVAL = 10.0
"""Seconds between two times. ``models.processes.SILENT`` is some of them."""

PRUNED_EVERY = 600.0
"""Seconds between two looks for rows of processes that are no more."""

OUTAGE = Backoff(first=INTERVAL, max=30.0)
"""Seconds between two tries while the database does not take the row."""


class Beating(threading.Thread):
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
