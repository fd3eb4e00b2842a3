"""Calls the callbacks of subscriptions: one after the other, but past one that takes long."""

import logging
import threading
import time
from typing import Any
from weakref import WeakSet

from django.db import connections

from django_events import repeats
from django_events.connections import close_obsolete_connections, drop_open_transactions, prepare_connections
from django_events.events import Event
from django_events.following.subscription import Subscription
from django_events.logging import about, fields_of

logger = logging.getLogger("django_events.broadcast")

PATIENCE = 1.0
"""Seconds for which the others wait for a callback. Then they are called beside it."""

THREADS = 32
"""At most: one fewer callbacks may hang, and all others are still called."""

SPARE = 2
"""Threads that wait for something to do: one that will call, and one that sees if that takes long."""

STAY = 10.0
"""Seconds for which they stay when there is nothing to do."""


class Callbacks:
    """Threads that come with the first call, and go when there are none for a while. Thread-safe.

    A subscription waits here once at most, whatever waits in its own queue, and is never called twice at the same time:
    so it gets its events in order.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[Subscription[Any], None] = {}
        self._running: dict[Subscription[Any], float] = {}
        self._threads = self._idle = 0
        self._began_at = 0.0
        self._said: WeakSet[Subscription[Any]] = WeakSet()

    def call(self, subscription: Subscription[Any]) -> None:
        """Have what waits at this subscription given to its callback. Does not block."""
        with self._changed:
            self._due[subscription] = None
            if not self._threads:
                self._start_thread()
            if self._first_due() is not None:  # else the thread that runs looks here when it is done
                self._changed.notify()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name="django-events-callbacks", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the machine gives no more of them: the reader, who calls us, must not suffer
            text = "No thread could be started for callbacks of subscriptions"
            repeats.log(logger, logging.ERROR, None, text, exc_info=True)
        else:
            self._threads += 1

    # ── the threads ──────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        try:
            while self._may_stay():
                if (subscription := self._next()) is None:
                    close_obsolete_connections()
                    continue
                event = subscription.take_now()
                if event is not None:
                    _call(subscription, event)
                self._done(subscription, may_have_more=event is not None)
        finally:
            connections.close_all()

    def _may_stay(self) -> bool:
        """Whether there may be something to do for this thread."""
        with self._changed:
            has_work = self._due or self._running or time.monotonic() < self._began_at + STAY
            stays = bool(has_work and self._idle < SPARE)
            if not stays:
                self._threads -= 1
                self._changed.notify()  # another one sees to what is due
            return stays

    def _next(self) -> Subscription[Any] | None:
        """Who is to be called next; None if that is nobody for a while."""
        with self._changed:
            while (found := self._first_due()) is None:
                self._idle += 1
                is_woken = self._changed.wait(PATIENCE)
                self._idle -= 1
                if not is_woken:
                    return None
            self._begin(found)
            return found

    def _first_due(self) -> Subscription[Any] | None:
        """Who has waited longest, unless a callback runs that may soon be done."""
        late_since = time.monotonic() - PATIENCE
        if any(since > late_since for since in self._running.values()):
            return None
        return next((each for each in self._due if each not in self._running), None)

    def _begin(self, subscription: Subscription[Any]) -> None:
        self._say_who_is_late()
        del self._due[subscription]
        self._running[subscription] = self._began_at = time.monotonic()
        if not self._idle and self._threads < THREADS:
            self._start_thread()

    def _done(self, subscription: Subscription[Any], *, may_have_more: bool) -> None:
        with self._changed:
            del self._running[subscription]
            if may_have_more:
                self._due[subscription] = None

    def _say_who_is_late(self) -> None:
        """Somebody is called beside those that run: said once of each."""
        for late in self._running.keys() - self._said:
            self._said.add(late)
            logger.warning(
                "The callback %r of a subscription to topic %r runs for over %g s; the others are called beside it, by "
                "%d threads at most",
                late.callback,
                late.topic,
                PATIENCE,
                THREADS,
            )


def _call(subscription: Subscription[Any], event: Event[Any]) -> None:
    assert subscription.callback
    try:
        prepare_connections()
        with about(event):
            subscription.callback(event)
    except BaseException as error:  # SystemExit is a failure of the callback, not the end of this thread
        text, kind = "The callback %r of a subscription failed", (event.topic, type(error))
        extra = fields_of([event])
        repeats.log(logger, logging.ERROR, kind, text, subscription.callback, exc_info=error, extra=extra)
    finally:
        drop_open_transactions()
