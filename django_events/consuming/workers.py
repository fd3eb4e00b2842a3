"""A bounded pool of threads that try handlers. Units go in, results come out; the group's thread does the rest."""

import queue
import threading
from dataclasses import dataclass

from django.db import connections

from django_events.consuming.attempt import Failed, Outcome, attempt
from django_events.consuming.queues import Work
from django_events.consuming.transactions import close_obsolete_connections, drop_open_transactions, prepare_connections

IDLE = 1.0
"""Seconds without work after which a worker closes the connections that CONN_MAX_AGE does not let live."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one unit. No outcomes: it was not begun, because its partition is not ours any more."""

    works: list[Work]
    outcomes: list[Outcome]


class Workers:
    """Daemon threads, so that a handler that never returns cannot keep the process alive. Thread-safe."""

    def __init__(self, count: int, name: str) -> None:
        self.count = count
        self._units: queue.SimpleQueue[list[Work] | None] = queue.SimpleQueue()
        self.results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-worker-{number}", daemon=True)
            for number in range(1, count + 1)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, works: list[Work]) -> None:
        """Have the works, all of one handler, tried together. Does not block; a Result follows."""
        self._units.put(works)

    def stop(self, timeout: float) -> None:
        """Let idle threads end and close their connections; wait at most ``timeout`` seconds for each."""
        for _ in self._threads:
            self._units.put(None)
        for thread in self._threads:
            thread.join(timeout)

    def _run(self) -> None:
        try:
            while (works := self._next_unit()) is not None:
                self.results.put(Result(works, self._try(works)))
        finally:
            connections.close_all()

    def _next_unit(self) -> list[Work] | None:
        while True:
            try:
                return self._units.get(timeout=IDLE)
            except queue.Empty:
                close_obsolete_connections()

    def _try(self, works: list[Work]) -> list[Outcome]:
        """Try the works. Never raises: a unit without a result would hold its offset for ever."""
        if any(work.progress.draining or work.progress.ended for work in works):
            return []
        try:
            prepare_connections()
            return attempt(works[0].handler, [work.record for work in works], works[0].attempts + 1)
        except BaseException as error:
            return [Failed(error)] * len(works)
        finally:
            drop_open_transactions()
