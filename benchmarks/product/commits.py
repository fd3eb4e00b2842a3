"""Threads that change something and send an event about it, as fast as they can."""

import time
from typing import Any

from benchmarks.child import Clock, set_up_django

set_up_django()

from django.conf import settings  # noqa: E402
from django.db import connections, transaction  # noqa: E402

from benchmarks.pace import at_pace  # noqa: E402
from benchmarks.product.outbox import wait_until_empty, waiting  # noqa: E402
from benchmarks.site.events import Measured, measured, padding  # noqa: E402
from benchmarks.site.models import Effect  # noqa: E402

PADDING = padding(256)


def run(clock: Clock, kind: str, process: int, threads: int, commits: int) -> dict[str, Any]:
    def commit(thread: int, number: int) -> None:
        key = f"key-{process}-{thread}"
        with transaction.atomic():
            Effect.objects.create(key=key, number=number)
            measured.send(Measured(number, time.time(), PADDING), key=key)

    has_thread = settings.DJANGO_EVENTS["SEND_AFTER_COMMIT"]
    if has_thread:
        send_first(f"first-{process}")
    clock.wait_for_start()
    at_pace(float("inf"), threads * commits, threads, commit, connections.close_all)
    clock.end()
    after = send_rest(clock) if has_thread else {}
    connections.close_all()
    return {"kind": kind, "after": after}


def send_first(key: str) -> None:
    """A process loads librdkafka and connects once: not in the seconds that stand for hours."""
    with transaction.atomic():
        measured.send(Measured(0, time.time(), PADDING), key=key)
    wait_until_empty()


def send_rest(clock: Clock) -> dict[str, float]:
    """What the thread had not sent when all was committed, and what it takes for the rest."""
    left, cpu = waiting(), time.process_time()
    wait_until_empty()
    return {
        "events waiting at the end": left,
        "seconds until all are sent": time.monotonic() - clock.ended,
        "processor ms until then": (time.process_time() - cpu) * 1000,
    }
