"""Catch-up looks so many times at an outbox where nothing waits."""

from typing import Any

from benchmarks.child import Clock, set_up_django

set_up_django()

from django.db import connections  # noqa: E402

from django_events.producing.catchup import Catchup  # noqa: E402
from django_events.stopping import Stop  # noqa: E402


def run(clock: Clock, looks: int) -> dict[str, Any]:
    catchup, stop = Catchup(["default"]), Stop()
    connections["default"].ensure_connection()
    clock.wait_for_start()
    sent = sum(catchup.one_pass("default", stop).sent for _ in range(looks))
    clock.end()
    catchup.close()
    connections.close_all()
    return {"sent": sent}
