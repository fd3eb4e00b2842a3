"""SIGTERM and SIGINT for commands: the first asks to stop, the second ends the process at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from django_events.stopping import Stop


@contextmanager
def stop_on_signals(stop: Stop) -> Iterator[None]:
    """Inside, SIGTERM and SIGINT set ``stop``. Outside of the main thread nothing is installed: Python forbids it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
