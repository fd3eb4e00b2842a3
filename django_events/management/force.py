"""The end of a process in which nothing of Python runs any more."""

import faulthandler
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2

LONGEST = 1e8
"""Seconds; three years. ``faulthandler`` takes no infinity."""


@contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """What is inside has so many seconds. After them the process ends with code 1, and stderr says where its threads
    were.

    For calls that may hold Python's lock for ever, as one of a client of Kafka may that hangs: no thread of ours looks
    at the clock any more then, and no signal is heard. Source: ``faulthandler.dump_traceback_later``, whose own thread
    does without that lock. There is one such clock in a process.
    """
    faulthandler.dump_traceback_later(min(seconds, LONGEST), exit=True, file=STDERR)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
