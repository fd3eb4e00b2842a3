"""Runs consumer groups and broadcast handlers in this process: threads started, watched and stopped together."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeAlias

from django_events import broadcasting, registry, tables
from django_events.broadcasting import BroadcastHandler
from django_events.consuming import activity, assignment
from django_events.consuming.broadcast import Broadcast, OfBroadcast
from django_events.consuming.group import GroupThread
from django_events.consuming.letter_reader import LetterReader
from django_events.consuming.letter_retrier import LetterRetrier
from django_events.consuming.limits import Limits
from django_events.consuming.pruning import Pruner, have_marks
from django_events.exceptions import DeclarationError, ServiceError
from django_events.handlers import ConsumerGroup, Function
from django_events.models import Kind
from django_events.presence.activity import Activity
from django_events.presence.presence import presence

logger = logging.getLogger("django_events.group")

OfTables: TypeAlias = LetterReader | LetterRetrier | Pruner

CLOSING = 10.0
"""Seconds beyond the shutdown time-out that Kafka has for commits and for leaving the groups."""

START_TIMEOUT = 60.0
"""Seconds that Kafka has until all has begun: longer than a killed process keeps its partitions (45 s)."""

SHUTDOWN_TIMEOUT = 30.0
"""Seconds that running handlers have to finish."""

LOOK = 0.1
"""Seconds between two looks at whether a thread has ended."""


def _checked(groups: Sequence[ConsumerGroup], broadcast: Sequence[BroadcastHandler]) -> Sequence[ConsumerGroup]:
    if not groups and not broadcast:
        raise DeclarationError(
            "A Service is to run no consumer group and no broadcast handler. Give it groups with handlers, or declare "
            "some in handlers.py of an installed app."
        )
    for group in groups:
        if not group.handlers:
            raise DeclarationError(
                f"A Service is to run the group {group.name!r}, which has no handlers. Declare them, and import the "
                "module in which they are declared, or leave the group out."
            )
        for handler, text in group.contradictions:
            raise DeclarationError(f"Handler {handler} contradicts itself: {text}.")
        for handler in group.handlers:
            handler.require_tables()
    return groups


def _of_tables(groups: Sequence[GroupThread], on_change: Callable[[str], None]) -> Iterator[OfTables]:
    """The threads that work on our tables."""
    for thread in groups:
        if thread.group.dead_letter_sources:
            yield LetterReader(thread.group, thread.prepared)
        yield LetterRetrier(thread.group)  # of every group: one that makes no letters any more may still have some
    declared = [thread.group for thread in groups]
    if have_marks(declared):
        yield Pruner(declared, [thread.prepared for thread in groups], on_change)


_running: list["Service"] = []

os.register_at_fork(after_in_child=_running.clear)


def running() -> list["Service"]:
    """Those of this process that have begun and were not stopped. Thread-safe."""
    return [*_running]


def _log(line: str) -> None:
    logger.info("%s", line)


class Service:
    """Some consumer groups and broadcast handlers, each with threads of its own; any number of services may run in a
    process, and none knows of the others.

    ``with Service(groups=[billing]): …`` runs them inside. Start it from one thread; all else is thread-safe. It is
    started once, in the process that runs it: threads do not survive a fork.
    """

    kind = Kind.SERVICE
    """What the table of processes says that a process is which has one."""

    def __init__(
        self,
        groups: Sequence[ConsumerGroup] | None = None,
        *,
        broadcast: Sequence[BroadcastHandler | Function[Any]] | None = None,
        limits: Limits | None = None,
        start_timeout: float = START_TIMEOUT,
        shutdown_timeout: float = SHUTDOWN_TIMEOUT,
        on_change: Callable[[str], None] = _log,
    ) -> None:
        """Nothing is started and nobody asked.

        ``groups``: by default all that have handlers. ``broadcast``: the functions of broadcast handlers; by default
        all that are declared, whichever groups are named, because handlers of groups use the same caches. Either may
        be empty. ``start_timeout``: seconds that Kafka has to give the groups their partitions and to say where
        broadcast begins; 60, because partitions of a killed process become free after 45. ``shutdown_timeout``:
        seconds that running handlers have to finish; 30, as in ``manage.py consume``. ``limits``: a
        ``django_events.consuming.limits.Limits``, mostly for tests; what it does not say, each group says.
        ``on_change`` gets a line for each change of an assignment, and when broadcast has begun, in the thread where it
        happens; by default it is logged.

        Raises DeclarationError where there is nothing to run, a group without handlers, a broadcast handler that is
        none, or a handler whose options contradict each other, and SettingsError for one that needs tables where there
        are none, and a heartbeat that cannot be.
        """
        broadcasts = broadcasting.declared() if broadcast is None else broadcasting.chosen(broadcast)
        groups = _checked(registry.groups([]) if groups is None else groups, broadcasts)
        self._start_timeout = start_timeout
        self._shutdown_timeout = shutdown_timeout
        self._has_begun = self._is_stopping = False
        self._groups = [GroupThread(group, limits or Limits(), on_change) for group in groups]
        self._of_tables = [] if tables.there_are_none() else [*_of_tables(self._groups, on_change)]
        self._broadcast = Broadcast(broadcasts, on_change=on_change)

    @property
    def _own_threads(self) -> list[GroupThread | OfTables]:
        return [*self._groups, *self._of_tables]

    @property
    def _threads(self) -> list[GroupThread | OfTables | OfBroadcast]:
        return [*self._own_threads, *self._broadcast.threads]

    # ── start ────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, timeout: float | None = None) -> None:
        """Start, and return when all partitions of the groups are assigned, each to this process or to another one that
        runs the group, and when broadcast handlers miss no later event. Blocks for ``timeout`` seconds at most (None:
        what the constructor says).

        Raises ServiceError, which says what is missing, if that takes too long, and what has ended a thread. The
        service is stopped then.
        """
        self.begin()
        try:
            self.wait_until_ready(self._start_timeout if timeout is None else timeout)
        except BaseException:
            self.stop(0)
            raise

    def begin(self) -> None:
        """Start, and return at once: for whoever waits for Kafka as long as it takes. Raises ServiceError
        at the second call."""
        if self._has_begun:
            raise ServiceError("This Service was started before. Make another one: a thread runs only once.")
        self._has_begun = True
        _running.append(self)
        for thread in self._own_threads:
            thread.start()
        self._broadcast.start()
        presence.enter(self)

    def wait_until_ready(self, timeout: float) -> None:
        """Wait until all partitions of the groups are assigned and broadcast has begun. Raises as ``start``, and stops
        nothing."""
        deadline = time.monotonic() + timeout
        missing = assignment.wait(self._groups, self._raise_errors, timeout) if self._groups else ""
        if missing:
            raise ServiceError(
                f"Not all partitions were assigned within {timeout:g} s: {missing}. Start the Service again when that "
                "is mended, or give it more time with start_timeout=."
            )
        while missing := self._broadcast.missing:
            self._raise_errors()
            if time.monotonic() >= deadline:
                raise ServiceError(
                    f"Broadcast handlers have not begun within {timeout:g} s: {missing}. Start the Service again when "
                    "that is mended, or give it more time with start_timeout=."
                )
            self._broadcast.wait_until_ready(LOOK)

    # ── while it runs ────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def is_prepared(self) -> bool:
        """Whether each group has looked for its topics, and created them where it can. Thread-safe."""
        return all(group.prepared.is_set() for group in self._groups)

    @property
    def is_assigned(self) -> bool:
        """Whether each group has heard from Kafka which partitions this process has. Thread-safe."""
        return all(group.ready.is_set() for group in self._groups)

    @property
    def records_done(self) -> int:
        """Records that all handlers are done with since the start. Thread-safe."""
        return sum(group.records_done for group in self._groups)

    @property
    def is_healthy(self) -> bool:
        """Whether each group has polled lately, no reader of broadcast events and no thread for dead letters hangs, no
        handler is stuck, and every other thread is there. Thread-safe."""
        if not all(thread.is_alive() and not thread.is_stuck for thread in self._own_threads):
            return False
        return self._broadcast.is_healthy and all(group.has_polled_lately for group in self._groups)

    def activity(self) -> Activity:
        """What it does right now, for the table of processes. Thread-safe, does not block."""
        return activity.of_threads(self._groups, [*self._of_tables, *self._broadcast.threads])

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the service is stopped by another thread, or one of its threads has ended by itself; at most
        ``timeout`` seconds (None: for ever). Returns whether that is so. Thread-safe.

        Raises what has ended a thread, such as ConsumerFailed; ``stop`` the others then. Raises ServiceError if it
        was not started.
        """
        if not self._has_begun:
            raise ServiceError("This Service was not started. Call start() first, or use it in a with statement.")
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        while not self._is_over():
            seconds_left = deadline - time.monotonic()
            if seconds_left <= 0:
                return False
            if alive := next((thread for thread in self._threads if thread.is_alive()), None):
                alive.join(min(seconds_left, LOOK))
        return True

    def _is_over(self) -> bool:
        """Whether it has ended, or nobody but ``stop`` can help it any more. Raises what has ended a thread."""
        ended = [not thread.is_alive() for thread in self._threads]
        self._raise_errors()  # after the look: a thread says what ends it before it ends
        return all(ended) if self._is_stopping else any(ended)

    def _raise_errors(self) -> None:
        for thread in self._threads:
            if thread.error:
                raise thread.error

    # ── stop ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def stop(self, timeout: float | None = None) -> bool:
        """Stop everything; running handlers have ``timeout`` seconds (None: what the constructor says). Returns
        whether all ended and no handler was left running; if not, end the process, for nobody can end a thread.

        The order in each group: take no more work, let handlers finish, commit, leave the group, end the workers; of
        broadcast handlers: begin nothing more, let what runs finish.
        Blocks, for ten seconds above the time-out at most. Thread-safe, idempotent; also before ``start``.
        """
        timeout = self._shutdown_timeout if timeout is None else timeout
        self._is_stopping = True
        for thread in self._own_threads:
            thread.stop(timeout)
        self._broadcast.tell_to_stop(timeout)
        deadline = time.monotonic() + timeout + CLOSING
        for each in self._threads:
            if each.ident is not None:
                each.join(max(deadline - time.monotonic(), 0))
        with suppress(ValueError):  # a second call, or it was not started
            _running.remove(self)
        presence.leave(self)
        return not any(thread.is_alive() or thread.left_running for thread in self._threads)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop. Unless something is raised already, raises what has ended a thread, and ServiceError if a handler did
        not end in time."""
        has_ended = self.stop()
        if error is None:
            self._raise_errors()
            if not has_ended:
                raise ServiceError(
                    f"A handler or Kafka did not end within {self._shutdown_timeout:g} s; the log names it. What was "
                    "not finished comes again. End this process: nobody can end a thread."
                )
