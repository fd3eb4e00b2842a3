"""Named places at which a test can kill or freeze the process, to see that nothing is lost there.

In production a place costs one attribute look-up: ``if crash_points.armed: crash_points.reached(name)``.
A test starts the process with ``DJANGO_EVENTS_CRASH_AT=<name>`` (or ``<name>:3`` for the third time), which sends it
SIGKILL there, or with ``DJANGO_EVENTS_STOP_AT=<name>``, which sends it SIGSTOP.
"""

import os
import signal

POINTS = (
    "row-inserted",
    "committed-before-wake",
    "lanes-locked",
    "produced-not-acknowledged",
    "acknowledged-not-deleted",
    "deleted-not-committed",
    "lane-found-taken",
    "record-polled",
    "processed-row-inserted",
    "handler-returned",
    "handler-committed",
    "dead-letter-written",
    "before-offset-commit",
    "revoked-not-committed",
    "stopped-not-committed",
    "dead-letters-projected",
    "dead-letter-leased",
    "dead-letter-tried",
)
"""All places, in the order in which one event passes them."""

CRASH, STOP = "DJANGO_EVENTS_CRASH_AT", "DJANGO_EVENTS_STOP_AT"

armed = os.environ.get(CRASH, "") or os.environ.get(STOP, "")
"""Empty in production."""

_signal = signal.SIGKILL if os.environ.get(CRASH) else signal.SIGSTOP
_times_reached = 0


def reached(name: str) -> None:
    """Kill or stop this process if it is armed for this place and has now been here often enough."""
    global _times_reached  # the process is about to end: nothing else needs this number
    wanted, _, times = armed.partition(":")
    if wanted != name:
        return
    _times_reached += 1
    if _times_reached == int(times or 1):
        os.kill(os.getpid(), _signal)
