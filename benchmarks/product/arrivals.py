"""``manage.py consume`` with a handler that knows when each of its transactions was committed."""

import time
from functools import partial
from typing import Any

from benchmarks.child import Clock, set_up_django

set_up_django()

from django.db import connections, transaction  # noqa: E402

from benchmarks.site.events import Measured, measured  # noqa: E402
from benchmarks.site.models import Effect  # noqa: E402
from django_events import ConsumerGroup, Event  # noqa: E402
from django_events.consuming.service import Service  # noqa: E402


def run(clock: Clock, group: str, events: int) -> dict[str, Any]:
    handled: dict[str, float] = {}
    declared = ConsumerGroup(group)

    @declared.exactly_once(measured)
    def insert(event: Event[Measured]) -> None:
        Effect.objects.create(key=event.key or "", number=event.payload.number)
        transaction.on_commit(partial(note, str(event.payload.number)))

    def note(number: str) -> None:
        handled[number] = time.time()

    service = Service([declared])
    service.start()
    clock.wait_for_start()
    while len(handled) < events:
        if service.wait(timeout=0.01):
            raise RuntimeError("the group has ended")
    clock.end()
    service.stop(30)
    connections.close_all()
    return {"handled": handled}
