"""A site that commits rows at a steady pace and wakes a thread after each commit, which sends them."""

import time
import uuid
from typing import Any

import django
import psycopg

from benchmarks.child import Clock

django.setup()

from django.db import connection, connections, transaction  # noqa: E402

from benchmarks.handwritten.outbox import INSERT_ROW, Waker, add_lanes, row, wait_until_empty  # noqa: E402
from benchmarks.pace import at_pace  # noqa: E402
from benchmarks.site.models import Effect  # noqa: E402


def run(
    clock: Clock, rate: float, events: int, threads: int, database: str, servers: str, prefix: str, by_thread: bool
) -> dict[str, Any]:
    committed: dict[str, float] = {}
    waker = Waker(database, servers, prefix) if by_thread else None

    def commit(thread: int, number: int) -> None:
        key, id = f"key-{thread}", str(uuid.uuid4())
        with transaction.atomic():
            Effect.objects.create(key=key, number=number)
            with connection.cursor() as cursor:
                cursor.execute(INSERT_ROW, row(key, number, id))
        committed[id] = time.time()
        if waker:
            waker.wake()

    add_lanes(database)
    with psycopg.connect(database) as own:
        clock.wait_for_start()
        at_pace(rate, events, threads, commit, connections.close_all)
        seconds = time.monotonic() - clock.began
        wait_until_empty(own)
        clock.end()
    if waker:
        waker.end()
    return {"committed": committed, "commits_per_second": events / seconds}
