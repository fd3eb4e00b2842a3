"""Whether a group's thread goes its rounds. After a standstill of the process nobody here knows what is still ours."""

import time

LONGEST_SILENCE = 2.0
"""Seconds; far below any session time-out, after which Kafka gives partitions to others."""


class Pulse:
    """The group's thread beats; workers ask. A standstill stays one until the thread has found out what is ours."""

    def __init__(self) -> None:
        self.restart()

    @property
    def is_steady(self) -> bool:
        """Whether the group's thread was there a moment ago. Thread-safe."""
        return time.monotonic() < self._steady_until

    def beat(self) -> None:
        """The group's thread is there. After a standstill that is not enough: ``restart`` it."""
        if self.is_steady:
            self.restart()

    def restart(self) -> None:
        """The group's thread is there, and knows what is ours."""
        self._steady_until = time.monotonic() + LONGEST_SILENCE
