"""The thread that sends a process's events right after their commit. One in each process, started at its first send.

Losing it, or the whole process, loses nothing: the rows are in the outbox, and ``manage.py catchup`` sends them.
"""

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from django.db import Error as DatabaseError
from django.db import connections

from django_events import repeats
from django_events.conf import settings
from django_events.exceptions import BrokerUnavailable, EventsError
from django_events.models import Kind, SavedRow
from django_events.presence.activity import Activity
from django_events.presence.presence import presence
from django_events.producing.lanes import WaitingLanes
from django_events.producing.sender import Sender
from django_events.retry import Backoff
from django_events.trouble import Trouble

logger = logging.getLogger("django_events.relay")

BUSY = Backoff(first=0.002, max=0.1)
"""Seconds between two tries of lanes that another sender holds: it mostly sends our rows, too."""

OUTAGE = Backoff(first=0.5, max=30.0)
"""Seconds between two tries while Kafka or the database does not answer."""

IDLE = 60.0
"""Seconds without an event after which the database connection is closed."""


LONGEST_STEP = 300.0
"""Seconds after which a step is taken to hang: longer than an attempt to connect to a database that does not answer,
which no new start of the process would mend."""


class Relay:
    """What a process has of the relay: the lanes that wait, and the thread once there is one. Thread-safe."""

    kind = Kind.RELAY

    def __init__(self) -> None:
        self.allowed_in_tests = False
        """Set by ``django_events.testing.sending``: without it nothing is sent under a test runner."""
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._thread: _RelayThread | None = None

    def prepare(self, using: str) -> None:
        """Start the thread, if this process has none, and let it connect. Idempotent; does not block."""
        if self._thread is None or not self._thread.is_alive():
            with self._lock:
                if self._thread is None or not self._thread.is_alive():
                    self._start(_RelayThread(using))

    def wake(self, rows: Sequence[SavedRow], using: str) -> None:
        """Rows of this database have just been committed: have their lanes sent. Never blocks."""
        self.prepare(using)
        thread = self._thread
        if thread:
            thread.wake(rows, using)

    def _start(self, thread: "_RelayThread") -> None:
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or Python is about to end: no reason to fail the caller
            text = "No thread could be started to send events: %s. catchup sends them."
            repeats.log(logger, logging.ERROR, str(error), text, error)
        else:
            self._thread = thread
            presence.enter(self)

    def activity(self) -> Activity:
        """What the table of processes tells of it."""
        thread = self._thread
        return Activity(sends=True, troubles=tuple(thread.troubles) if thread else ())

    @property
    def is_healthy(self) -> bool:
        """Whether there is no thread, or one that goes its rounds, be it in vain. Thread-safe."""
        thread = self._thread
        return thread is None or (thread.is_alive() and not thread.hangs)

    @property
    def trouble(self) -> str:
        """Why Kafka did not take events at the last try; empty if it did, or nobody tried. Thread-safe."""
        thread = self._thread
        return thread.trouble if thread else ""

    def stop(self, timeout: float) -> bool:
        """Send what waits for at most ``timeout`` seconds and end the thread. Returns whether it ended in time."""
        thread, self._thread = self._thread, None
        has_ended = thread.stop(timeout) if thread else True
        presence.leave(self)
        return has_ended

    def after_fork(self) -> None:
        """In a child process: forget the parent's thread, lock and producer, without ever destroying them."""
        _inherited.append((self._lock, self._thread))
        if self._thread:
            self._thread.leave_to_parent()
        self._start_afresh()


class _RelayThread(threading.Thread):
    """Waits for lanes and sends them, round by round, until it is stopped."""

    def __init__(self, using: str) -> None:
        super().__init__(name="django-events-relay", daemon=True)
        self._woken = threading.Condition()
        self._outboxes: dict[str, _Outbox] = {}
        self._stopping = False
        self._sender = Sender()
        self._kafka = Trouble("kafka", "Sending events to Kafka", logger, OUTAGE)
        self._busy_rounds = 0
        self._first_database = using
        self._step_began: float | None = None

    @property
    def hangs(self) -> bool:
        """Whether it has been in one step for longer than any takes. Thread-safe."""
        began = self._step_began
        return began is not None and time.monotonic() - began > LONGEST_STEP

    @property
    def trouble(self) -> str:
        return self._kafka.reason

    def wake(self, rows: Sequence[SavedRow], using: str) -> None:
        with self._woken:
            self._outboxes.setdefault(using, _Outbox(using)).waiting.add({row.lane for row in rows})
            self._woken.notify()

    def stop(self, timeout: float) -> bool:
        with self._woken:
            self._stopping = True
            self._woken.notify()
        self.join(timeout)
        return not self.is_alive()

    @property
    def troubles(self) -> list[str]:
        """What does not work at this moment. Other threads may read it."""
        found = [self._kafka, *(outbox.trouble for outbox in list(self._outboxes.values()))]
        return [*filter(None, (each.text for each in found)), *self._sender.troubles]

    def leave_to_parent(self) -> None:
        """In a child process, where this thread does not run: see to it that the producer is never destroyed."""
        self._sender.close()

    def run(self) -> None:
        try:
            with self._woken:
                first = self._outboxes.setdefault(self._first_database, _Outbox(self._first_database))
            self._guarded(self._warm_up, first)
            while not self._is_done():
                for outbox in self._due():
                    self._guarded(self._round if outbox.waiting else self._warm_up, outbox)
        finally:
            self._sender.close()
            connections.close_all()

    def _is_done(self) -> bool:
        """Sleep until there is something to try; True if there is nothing left and the thread is to end."""
        with self._woken:
            while (delay := self._delay()) is None or delay > 0:
                if self._stopping:
                    return True
                if not self._woken.wait(IDLE if delay is None else delay) and delay is None:
                    self._close_connections()
        return False

    def _delay(self) -> float | None:
        """Seconds until something may be tried; None if there is nothing to try."""
        moments = [self._moment(outbox) for outbox in self._to_be_tried()]
        return min(moments) - time.monotonic() if moments else None

    def _due(self) -> list["_Outbox"]:
        """The outboxes that may be tried now."""
        now = time.monotonic()
        return [each for each in self._to_be_tried() if self._moment(each) <= now]

    def _to_be_tried(self) -> list["_Outbox"]:
        """The outboxes with lanes that wait. If none has any, as after a rollback, one of which it is said that
        something does not work: nobody else would find out that it works again."""
        outboxes = [*self._outboxes.values()]
        waiting = [each for each in outboxes if each.waiting]
        if waiting or self._stopping:
            return waiting
        return [each for each in outboxes if self._kafka.reason or each.trouble.reason][:1]

    def _moment(self, outbox: "_Outbox") -> float:
        """The moment (time.monotonic) at which this outbox, or a lane of it, may be tried."""
        return max(self._sender.next_due(outbox.waiting), self._kafka.until, outbox.trouble.until)

    def _warm_up(self, outbox: "_Outbox") -> None:
        """Connect before the first commit, which would otherwise be slow to arrive. Later: find out if it works."""
        self._sender.connect()
        self._kafka.ended()
        connections[outbox.using].ensure_connection()
        outbox.trouble.ended()

    def _round(self, outbox: "_Outbox") -> None:
        result = self._sender.round(outbox.waiting, outbox.using)
        if result is None:
            return
        outbox.trouble.ended()
        if result.unanswered and result.is_outage:
            self._kafka.began(result.unanswered)
            return
        self._kafka.ended()
        self._pause_while_busy(bool(result.busy) and not result.sent)

    def _pause_while_busy(self, busy: bool) -> None:
        """Lanes that another sender holds stay in the set and are tried again after some milliseconds."""
        self._busy_rounds = self._busy_rounds + 1 if busy else 0
        if busy:
            with self._woken:
                self._woken.wait(BUSY.delay(self._busy_rounds))

    def _guarded(self, step: Callable[["_Outbox"], None], outbox: "_Outbox") -> None:
        """Do one step; whatever goes wrong is waited out, for the rows are safe and this thread must not die."""
        self._step_began = time.monotonic()
        try:
            step(outbox)
        except BrokerUnavailable as error:
            self._sender.close()
            self._kafka.began(str(error))
        except DatabaseError as error:
            self._close_connections()
            outbox.trouble.began(str(error).strip())
        except EventsError as error:
            self._kafka.began(str(error), logging.ERROR)
        except Exception as error:
            logger.exception("The relay failed in a way that it does not know; it goes on")
            self._sender.close()
            self._close_connections()
            self._kafka.began(repr(error), logging.ERROR)
        finally:
            self._step_began = None

    def _close_connections(self) -> None:
        with suppress(Exception):  # the server may have closed them already; the next round connects
            connections.close_all()


class _Outbox:
    """What the thread knows of one database."""

    def __init__(self, using: str) -> None:
        self.using = using
        self.waiting = WaitingLanes()
        self.trouble = Trouble("outbox", f"Reading the outbox of {using}", logger, OUTAGE)


_inherited: list[object] = []

relay = Relay()

os.register_at_fork(after_in_child=relay.after_fork)


@atexit.register
def _send_the_last_events() -> None:
    if not relay.stop(settings.EXIT_TIMEOUT):
        logger.warning("Some events were not sent before this process ended; catchup sends them.")
