"""Threads that change something and send an event about it, as fast as they can."""

import time
from typing import Any

from benchmarks.child import Clock, set_up_django

set_up_django()

from django.conf import settings  # noqa: E402
from django.db import connections, transaction  # noqa: E402

from benchmarks.pace import at_pace  # noqa: E402
from benchmarks.product.outbox import wait_until_empty  # noqa: E402
from benchmarks.site.events import Measured, measured, padding  # noqa: E402
from benchmarks.site.models import Effect  # noqa: E402

PADDING = padding(256)


def run(clock: Clock, kind: str, process: int, threads: int, commits: int) -> dict[str, Any]:
    def commit(thread: int, number: int) -> None:
        key = f"key-{process}-{thread}"
        with transaction.atomic():
            Effect.objects.create(key=key, number=number)
            measured.send(Measured(number, time.time(), PADDING), key=key)

    clock.wait_for_start()
    at_pace(float("inf"), threads * commits, threads, commit, connections.close_all)
    clock.end()
    if settings.DJANGO_EVENTS["SEND_AFTER_COMMIT"]:
        wait_until_empty()
    connections.close_all()
    return {"kind": kind}
