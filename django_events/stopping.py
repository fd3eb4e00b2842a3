"""The wish that a command stops: set from a signal handler, waited for by the main thread."""

import queue
from contextlib import suppress


class Stop:
    """Unlike ``threading.Event``, it may be set by a signal handler that interrupts its own ``wait`` or ``set``."""

    def __init__(self) -> None:
        self._wished = False
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()  # put() is reentrant, says Python's documentation

    def set(self) -> None:
        """Wish it. Idempotent, thread-safe, reentrant."""
        self._wished = True
        self._bell.put(None)

    def is_set(self) -> bool:
        return self._wished

    def wait(self, seconds: float) -> bool:
        """Wait until it is wished, at most this long; whether it is."""
        if not self._wished:
            with suppress(queue.Empty):
                self._bell.get(timeout=max(seconds, 0))
        return self._wished
