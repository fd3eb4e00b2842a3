"""A process with a broadcast handler, which notes how old each event is."""

import time
from typing import Any

from benchmarks.child import Clock, set_up_django

set_up_django()

from benchmarks.site.events import Measured, measured  # noqa: E402
from django_events import Event, Service, broadcast  # noqa: E402


def run(clock: Clock, events: int) -> dict[str, Any]:
    heard: list[tuple[str | None, int, float]] = []

    @broadcast(measured)
    def hear(event: Event[Measured]) -> None:
        heard.append((event.key, event.payload.number, time.time() - event.payload.at))

    service = Service(groups=[], broadcast=[hear])
    service.start()
    clock.wait_for_start()
    while len(heard) < events:
        if service.wait(timeout=0.01):
            raise RuntimeError("the service has ended")
    clock.end()
    service.stop(30)
    return {"heard": heard}
