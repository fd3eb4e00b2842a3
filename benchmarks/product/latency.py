"""A site that commits an event at a steady pace, and knows when each was committed."""

import time
from functools import partial
from typing import Any

from benchmarks.child import Clock, set_up_django

set_up_django()

from django.db import connection, connections, transaction  # noqa: E402

from benchmarks.pace import at_pace  # noqa: E402
from benchmarks.product.outbox import wait_until_empty  # noqa: E402
from benchmarks.site.events import Measured, measured, padding  # noqa: E402
from benchmarks.site.models import Effect  # noqa: E402

PADDING = padding(256)


def run(clock: Clock, rate: float, events: int, threads: int) -> dict[str, Any]:
    committed: dict[str, float] = {}

    def commit(thread: int, number: int) -> None:
        key = f"key-{thread}"
        with transaction.atomic():
            Effect.objects.create(key=key, number=number)
            event = measured.event(Measured(number, time.time(), PADDING), key=key)
            transaction.on_commit(partial(note, event.id))  # in front of the hook that wakes the thread
            measured.send_many([event])

    def note(id: str) -> None:
        committed[id] = time.time()

    connection.ensure_connection()
    clock.wait_for_start()
    at_pace(rate, events, threads, commit, connections.close_all)
    seconds = time.monotonic() - clock.began
    wait_until_empty()
    clock.end()
    connections.close_all()
    return {"committed": committed, "commits_per_second": events / seconds}
