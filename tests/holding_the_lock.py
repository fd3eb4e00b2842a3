"""``manage.py`` whose clients of Kafka hold Python's lock for ever when they are closed, as one does that hangs while
it calls back. Stops take less time than in earnest.

usage: python -m tests.holding_the_lock COMMAND …
"""

import ctypes
import sys

import django

django.setup()

from django.core.management import execute_from_command_line  # noqa: E402

from django_events.consuming import service  # noqa: E402
from django_events.kafka.consumer import Consumer  # noqa: E402
from django_events.management.consume import running  # noqa: E402


def hold_the_lock(self: Consumer) -> None:
    """A PyDLL keeps the lock during its calls, other than a CDLL."""
    ctypes.PyDLL(None).sleep(3600)


if __name__ == "__main__":
    service.CLOSING = running.BY_FORCE = 0.5
    running.CLOSING = 0.5  # type: ignore[attr-defined]
    Consumer.close = hold_the_lock  # type: ignore[method-assign]
    execute_from_command_line(["manage.py", *sys.argv[1:]])
