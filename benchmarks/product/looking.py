"""``manage.py catchup`` until so many events are sent."""

import time
from typing import Any

from benchmarks.child import Clock, set_up_django

set_up_django()

from django.db import connections  # noqa: E402

from django_events.producing.catchup import Catchup  # noqa: E402
from django_events.stopping import Stop  # noqa: E402


def run(clock: Clock, events: int, every: float) -> dict[str, Any]:
    catchup, stop, sent = Catchup(["default"]), Stop(), 0
    clock.wait_for_start()
    while sent < events:
        found = catchup.one_pass("default", stop).sent
        sent += found
        if not found:
            time.sleep(every)
    clock.end()
    catchup.close()
    connections.close_all()
    return {}
