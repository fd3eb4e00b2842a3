"""A process that looks every so often for rows to send, until so many are sent."""

import time
from typing import Any

from benchmarks.child import Clock
from benchmarks.handwritten.drain import connect, make_producer, send_round


def run(clock: Clock, events: int, every: float, database: str, servers: str, prefix: str) -> dict[str, Any]:
    producer, sent = make_producer(servers), 0
    with connect(database) as connection:
        clock.wait_for_start()
        while sent < events:
            found = send_round(connection, producer, prefix)
            sent += found
            if not found:
                time.sleep(every)
        clock.end()
    return {}
