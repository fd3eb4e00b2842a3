"""A bounded pool of threads that try handlers. Units go in, results come out; whoever owns the pool does the rest."""

import queue
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from django.db import connections

from django_events.connections import close_obsolete_connections, drop_open_transactions, prepare_connections
from django_events.consuming import calls
from django_events.consuming.calls import Call
from django_events.consuming.offsets import Progress
from django_events.consuming.outcome import NotBegun, Outcome, failed
from django_events.consuming.sharing import Sharing
from django_events.consuming.trying import Trial
from django_events.handlers import Handler
from django_events.kafka.record import ReceivedRecord

IDLE = 1.0
"""Seconds without work after which a worker closes the connections that CONN_MAX_AGE does not let live."""

Subject = TypeVar("Subject")


@dataclass(frozen=True, slots=True, eq=False)
class Unit(Generic[Subject]):
    """What is tried together: one handler and one or more records."""

    subject: Subject
    """What the owner of the pool knows it by."""
    handler: Handler
    records: Sequence[ReceivedRecord]
    number: int
    """Which attempt it is, from 1."""
    partitions: Sequence[Progress] = ()
    """Where each of the records comes from: what is being given up is not begun. Empty: nothing is."""
    has_waited: bool = False
    """Whether a try of one of the records could not take place, as when others hold its mark."""

    def may_begin(self, position: int) -> bool:
        """Whether the record at this position is still ours."""
        return not self.partitions or self.partitions[position].may_begin


@dataclass(frozen=True, slots=True)
class Result(Generic[Subject]):
    """What became of one unit."""

    subject: Subject
    outcomes: Sequence[Outcome]
    """One for each record, in their order."""


Inbox: TypeAlias = queue.SimpleQueue[Unit[Subject] | None]
"""Of one worker. None: it ends."""


class Workers(Generic[Subject]):
    """Daemon threads, so that a handler that never returns cannot keep the process alive. Thread-safe."""

    def __init__(self, count: int, name: str, deliver: Callable[[Result[Subject]], None] | None = None) -> None:
        """``deliver`` gets each result, in a worker's thread; without it they are in ``results``."""
        self.count = count
        self._lock = threading.Lock()
        self._waiting: deque[Unit[Subject]] = deque()
        self._idle: list[Inbox[Subject]] = []
        """Of the workers that have nothing to do, each its inbox. Who was busy last is the last here, and the next to
        work: what it needs is in the processor's cache still, and the others may close their connections."""
        self.results: queue.SimpleQueue[Result[Subject]] = queue.SimpleQueue()
        self._deliver = deliver or self.results.put
        self._sharing: defaultdict[str, Sharing] = defaultdict(Sharing)
        self._inboxes: list[Inbox[Subject]] = [queue.SimpleQueue() for _ in range(count)]
        self._threads = [
            threading.Thread(target=self._run, args=[inbox], name=f"{name}-worker-{number}", daemon=True)
            for number, inbox in enumerate(self._inboxes, start=1)
        ]
        for thread in self._threads:
            thread.start()

    def take_back(self) -> None:
        """Have those units come back that wait for a worker and have a record that is not to be begun any more: their
        results say that nothing of them has begun. Whoever submits calls it; does not block."""
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
        for unit in waiting:
            if all(unit.may_begin(at) for at in range(len(unit.records))):
                self.submit(unit)
            else:
                self._deliver(Result(unit.subject, [NotBegun()] * len(unit.records)))

    def sharing(self, handler: str) -> Sharing:
        """What is known of this handler."""
        return self._sharing[handler]

    @property
    def calls(self) -> list[Call]:
        """The handlers that run in them. Thread-safe."""
        return calls.running(self._threads)

    def submit(self, unit: Unit[Subject]) -> None:
        """Have the unit tried. Does not block; a Result follows."""
        with self._lock:
            if self._idle:
                self._idle.pop().put(unit)
            else:
                self._waiting.append(unit)

    def stop(self, timeout: float) -> None:
        """Let idle threads end and close their connections; wait at most ``timeout`` seconds for each."""
        for inbox in self._inboxes:
            inbox.put(None)
        for thread in self._threads:
            thread.join(timeout)

    def _run(self, inbox: Inbox[Subject]) -> None:
        try:
            while (unit := self._next_unit(inbox)) is not None:
                self._deliver(Result(unit.subject, self._try(unit)))
        finally:
            connections.close_all()

    def _next_unit(self, inbox: Inbox[Subject]) -> Unit[Subject] | None:
        while True:
            with self._lock:
                if self._waiting:
                    return self._waiting.popleft()
                self._idle.append(inbox)
            with suppress(queue.Empty):
                return inbox.get(timeout=IDLE)
            with self._lock:
                is_idle = inbox in self._idle
                if is_idle:  # to close a connection may take a while: others can have what comes
                    self._idle.remove(inbox)
            if not is_idle:
                return inbox.get()
            close_obsolete_connections()

    def _try(self, unit: Unit[Subject]) -> Sequence[Outcome]:
        """Try the unit. Never raises: a unit without a result would hold its offset for ever."""
        sharing = self.sharing(unit.handler.name)
        used_before = time.thread_time()
        try:
            prepare_connections()
            trial = Trial(unit.handler, unit.records, unit.number, sharing, unit.may_begin, has_waited=unit.has_waited)
            return trial.outcomes()
        except BaseException as error:
            return [failed(error, record) for record in unit.records]
        finally:
            drop_open_transactions()
            used = time.thread_time() - used_before
            sharing.used += used
