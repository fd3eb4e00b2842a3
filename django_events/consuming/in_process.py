"""The broadcast handlers of a process that serves requests: one ``Broadcast`` a process, also after a fork."""

import atexit
import logging
import os
import threading

from django.apps import apps

from django_events import broadcasting
from django_events.consuming.broadcast import Broadcast
from django_events.producing.in_tests import nothing_is_sent

logger = logging.getLogger("django_events.broadcast")

EXIT = 1.0
"""Seconds that running handlers have when the process ends. Then it ends, whatever they do."""


class InProcess:
    """What a process has of it. Thread-safe."""

    def __init__(self) -> None:
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._broadcast: Broadcast | None = None

    def start(self) -> Broadcast:
        """Start all declared broadcast handlers, unless they run. Does not wait for Kafka. Raises AppRegistryNotReady
        before ``django.setup()``, and what ``Broadcast`` does. Under a test runner nothing starts."""
        with self._lock:
            if self._broadcast is None:
                apps.check_apps_ready()
                handlers = [] if nothing_is_sent() else broadcasting.declared()
                self._broadcast = Broadcast(handlers)
                self._broadcast.start()
            return self._broadcast

    @property
    def running(self) -> Broadcast | None:
        """What was started, if anything was. Starts nothing. Thread-safe."""
        return self._broadcast

    def stop(self, timeout: float) -> bool:
        """End it; whether it ended in time. What ``start`` returns then is a new one."""
        with self._lock:
            broadcast, self._broadcast = self._broadcast, None
        return broadcast.stop(timeout, closing=0.0) if broadcast else True

    def after_fork(self) -> None:
        """In a child process, where the parent's threads do not run: forget them without destroying anything."""
        _inherited.append((self._lock, self._broadcast))
        self._start_afresh()


_inherited: list[object] = []

in_process = InProcess()

os.register_at_fork(after_in_child=in_process.after_fork)


@atexit.register
def _let_go_of_kafka() -> None:
    in_process.stop(EXIT)
