"""Notes when its process stood still: nobody else can tell that, least of all where the whole machine did."""

import os
import threading
import time
from collections.abc import Callable

from tests.chaos.facts import ACTOR, STANDSTILL, Fault
from tests.chaos.history import note

PAUSE = 0.2
"""Seconds between two looks at the clock."""

LONG = 1.0
"""Seconds between two looks after which the process must have stood still."""


def watch_the_clock() -> None:
    """Note each standstill of this process from now on, also one that was made on purpose."""
    threading.Thread(target=note_standstills, name="standstills", daemon=True).start()


def note_standstills(
    clock: Callable[[], float] = time.time,
    processor: Callable[[], float] = time.process_time,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Look at the clock without end. A process that has worked meanwhile did not stand still: it kept Python's lock."""
    actor = os.environ.get(ACTOR, "runner")
    before, used = clock(), processor()
    while True:
        sleep(PAUSE)
        now, used_now = clock(), processor()
        if now - before > LONG and used_now - used < (now - before) / 2:
            note(Fault(at=before, kind=STANDSTILL, hits=(actor,), until=now))
        before, used = now, used_now
