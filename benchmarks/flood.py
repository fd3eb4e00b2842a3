"""Sends records to a topic as fast as it can, as soon as all others are ready."""

from typing import Any

from benchmarks.child import Clock, set_up_django

set_up_django()

from benchmarks.filling import Load, send_records  # noqa: E402
from tests.broker import Broker  # noqa: E402


def run(clock: Clock, events: int, keys: int, servers: str, prefix: str) -> dict[str, Any]:
    clock.wait_for_start()
    send_records(Broker(servers, prefix), Load(events, keys=keys))
    return {}
