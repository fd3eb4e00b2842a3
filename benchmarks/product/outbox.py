"""How much waits in the outbox, and waiting until others have emptied it."""

import time

from django.db import connection

from benchmarks.counters import own_look


def waiting() -> int:
    """How many events wait. Its look is not counted as a statement of the product's."""
    with connection.cursor() as cursor:
        cursor.execute(own_look("SELECT count(*) FROM django_events_outgoingevent"))
        return int(cursor.fetchone()[0])


def wait_until_empty(timeout: float = 120.0) -> None:
    """Return when nothing waits any more. Its look is not counted as a statement of the product's."""
    deadline = time.monotonic() + timeout
    with connection.cursor() as cursor:
        while True:
            cursor.execute(own_look("SELECT EXISTS (SELECT FROM django_events_outgoingevent)"))
            if not cursor.fetchone()[0]:
                return
            assert time.monotonic() < deadline, f"events still wait after {timeout:g} s"
            time.sleep(0.02)
