"""Catch-up until nothing waits. ``manage.py catchup`` does the same, but goes on."""

import time
from typing import Any

from benchmarks.child import Clock, set_up_django

set_up_django()

from django.db import connections  # noqa: E402

from django_events.management.garbage import sparing_what_there_is  # noqa: E402
from django_events.producing.catchup import LOOK_AGAIN, Catchup  # noqa: E402
from django_events.stopping import Stop  # noqa: E402


def run(clock: Clock) -> dict[str, Any]:
    with sparing_what_there_is():
        return drain(clock)


def drain(clock: Clock) -> dict[str, Any]:
    catchup, stop = Catchup(["default"]), Stop()
    connections["default"].ensure_connection()
    catchup._sender.connect()  # as the loop has before its clock: with few rows it would be most of their time
    while not catchup._ready_partner("default"):
        time.sleep(0.01)
    clock.wait_for_start()
    sent = 0
    while True:
        result = catchup.one_pass("default", stop, LOOK_AGAIN)
        sent += result.sent
        if result.unanswered:
            raise RuntimeError(result.unanswered)
        if not (result.sent or result.left or result.busy):
            break
        if not result.sent:
            time.sleep(0.01)  # the rest is in the hands of another process
    clock.end()
    catchup.close()
    connections.close_all()
    return {"sent": sent}
