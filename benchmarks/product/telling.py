"""A process that sends events straight to Kafka at a steady pace."""

import time
from typing import Any

from benchmarks.child import Clock, set_up_django

set_up_django()

from benchmarks.pace import at_pace  # noqa: E402
from benchmarks.site.events import Measured, measured, padding  # noqa: E402

PADDING = padding(256)


def run(clock: Clock, rate: float, events: int) -> dict[str, Any]:
    def send(thread: int, number: int) -> None:
        measured.send_now(Measured(number, time.time(), PADDING), key=f"key-{thread}")

    clock.wait_for_start()
    at_pace(rate, events, 1, send, lambda: None)
    return {}
