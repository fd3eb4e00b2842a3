"""Starts and stops what broadcast handlers need in a process: their threads, a reader, and the heartbeat."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

from django_events import metrics
from django_events.broadcasting import BroadcastHandler
from django_events.consuming.broadcast_handler import BroadcastThread
from django_events.consuming.broadcasts import running
from django_events.exceptions import DeclarationError
from django_events.following import heartbeat
from django_events.following.heartbeat import Heart
from django_events.following.reader import Reader

logger = logging.getLogger("django_events.broadcast")

OfBroadcast: TypeAlias = Heart | Reader | BroadcastThread

LONGEST_ROUND = 30.0
"""Seconds after which a reader that has not gone its round is taken to be stuck; Kafka has 5 for an answer."""

CLOSING = 10.0
"""Seconds beyond the time-out of handlers in which readers let go of Kafka."""


def _log(line: str) -> None:
    logger.info("%s", line)


class Broadcast:
    """Some broadcast handlers, each with threads of its own, and a reader that they share. ``start`` and ``stop`` it
    from one thread. Without handlers nothing runs."""

    def __init__(self, handlers: Sequence[BroadcastHandler], *, on_change: Callable[[str], None] = _log) -> None:
        """``on_change`` gets a line when it has started, in a thread of its own. Raises SettingsError for a heartbeat
        that cannot be."""
        heartbeat.interval()
        self._handlers = {declared.name: BroadcastThread(declared) for declared in handlers}
        self._readers: list[Reader] = []
        self._heart = Heart(self._latency_of_readers, self._tell_latencies, self._forget_latencies)
        self._on_change = on_change
        self._lock = threading.Lock()
        self._stopping = False

    def start(self) -> None:
        """Start it; returns at once. Every event is seen that is sent after ``wait_until_ready`` has returned True."""
        if not self._handlers:
            return
        for thread in self._handlers.values():
            thread.start()
        self._start_reader(Reader([*self._handlers.values()], self._start_reader, self._say_ready))
        self._heart.start()
        running.add(self)

    def wait_until_ready(self, timeout: float) -> bool:
        """Wait until it is known where to begin; False if that takes longer than so many seconds."""
        deadline = time.monotonic() + timeout
        return all(reader.ready.wait(max(deadline - time.monotonic(), 0)) for reader in [*self._readers])

    @property
    def missing(self) -> str:
        """What it has to wait for before it is ready; nothing if it is. Thread-safe."""
        waiting = [reader for reader in [*self._readers] if not reader.ready.is_set()]
        if not waiting:
            return ""
        return next((each.trouble for each in waiting if each.trouble), "") or (
            "Kafka has not said where the topics of broadcast handlers end"
        )

    @property
    def trouble(self) -> str:
        """Why a reader waits for Kafka; nothing if none does. Thread-safe."""
        return next((reader.trouble for reader in [*self._readers] if reader.trouble), "")

    # ── health; all of it may be asked by any thread ─────────────────────────────────────────────────────────────

    @property
    def names(self) -> Collection[str]:
        """The names of its handlers."""
        return self._handlers.keys()

    def latency(self, handler: str | None = None) -> float:
        """How many seconds old what this handler knows is at most, or the handler that is furthest behind.

        It is the time since the sending of the newest event or heartbeat that was read, or since the oldest came that
        the handler is not done with, or for which the leader of a partition is not reached. Infinite before the start,
        if nothing runs, and while Kafka does not let us read one of its topics. Raises DeclarationError for a name that
        is none.
        """
        if handler is not None and handler not in self._handlers:
            names = ", ".join(sorted(self._handlers)) or "none"
            raise DeclarationError(f"No broadcast handler is named {handler!r}. Those that run here: {names}.")
        found = [
            max(reader.latency_of(feed), feed.latency)
            for reader in [*self._readers]
            for feed in [*reader.feeds]
            if isinstance(feed, BroadcastThread) and handler in (None, feed.declared.name)
        ]
        return max(found, default=float("inf"))

    def is_live(self, handler: str | None = None) -> bool:
        """Whether what this handler knows is not older than two intervals of the heartbeat; without a name, whether
        that is so of all. Errors as ``latency``."""
        return self.latency(handler) < 2 * heartbeat.interval()

    @property
    def is_healthy(self) -> bool:
        """Whether all threads are there, no reader hangs and no handler is stuck. Unlike ``is_live`` it is true while
        Kafka is away: starting the process again would not help."""
        if not all(thread.is_alive() for thread in self.threads):
            return False
        turned_since = time.monotonic() - LONGEST_ROUND
        readers = all(reader.turned_at > turned_since for reader in [*self._readers])
        return readers and not any(thread.is_stuck for thread in self._handlers.values())

    @property
    def dropped(self) -> dict[str, int]:
        """How many events each handler has dropped after failures, since the start."""
        return {name: thread.dropped for name, thread in self._handlers.items()}

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────

    def stop(self, timeout: float, *, closing: float = CLOSING) -> bool:
        """Stop it; running handlers have ``timeout`` seconds, and readers ``closing`` beyond that to let go of Kafka.
        Returns whether all ended and none was left running."""
        self.tell_to_stop(timeout)
        deadline = time.monotonic() + timeout + closing
        for thread in self.threads:
            if thread.ident is not None:
                thread.join(max(deadline - time.monotonic(), 0))
        return not any(thread.is_alive() or thread.left_running for thread in self.threads)

    def tell_to_stop(self, timeout: float) -> None:
        """The first half of ``stop``, for who joins the threads. Thread-safe, idempotent; returns at once."""
        running.remove(self)
        with self._lock:
            self._stopping = True
        for thread in self.threads:
            thread.stop(timeout)

    @property
    def threads(self) -> list[OfBroadcast]:
        """All that it has now; readers may come until it is told to stop. None without handlers. Thread-safe."""
        return [self._heart, *self._readers, *self._handlers.values()] if self._handlers else []

    def _start_reader(self, reader: Reader) -> None:
        """Called also by a reader, in its thread, that gives up a feed which does not keep up."""
        with self._lock:
            if not self._stopping:
                reader.start()
                self._readers.append(reader)

    def _say_ready(self, text: str) -> None:
        self._on_change(f"broadcast: {text}")

    def _latency_of_readers(self) -> float:
        return max((reader.latency for reader in [*self._readers]), default=float("inf"))

    def _tell_latencies(self) -> None:
        for name in self._handlers:
            metrics.BROADCAST_LATENCY.of(name).set(self.latency(name))

    def _forget_latencies(self) -> None:
        for name in self._handlers:
            metrics.BROADCAST_LATENCY.forget(name)
