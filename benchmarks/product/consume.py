"""``manage.py consume`` until all records are handled."""

import os
import time
from collections import defaultdict
from typing import Any

from benchmarks.child import Clock, set_up_django

set_up_django()

from django.db import connection, connections  # noqa: E402

import django_events  # noqa: E402
from benchmarks.counters import own_look  # noqa: E402
from benchmarks.site.events import Measured, measured  # noqa: E402
from benchmarks.site.models import Effect  # noqa: E402
from django_events import ConsumerGroup, Event  # noqa: E402
from django_events.consuming.limits import Limits  # noqa: E402
from django_events.consuming.service import Service  # noqa: E402
from django_events.management.garbage import sparing_what_there_is  # noqa: E402

BATCH_SIZE = 100
Call = tuple[str | None, int]
"""Key and number of an event."""


class Counted:
    """What a long run keeps of its calls, as a list of all would be most of its memory."""

    def __init__(self) -> None:
        self.in_order = True
        """Whether the numbers of each key have counted up from 0."""
        self._next: defaultdict[str | None, int] = defaultdict(int)

    def append(self, call: Call) -> None:
        key, number = call
        if number != self._next[key]:
            self.in_order = False
        self._next[key] += 1  # no two calls of a key at once

    def __len__(self) -> int:
        return sum(list(self._next.values()))


Calls = list[Call] | Counted


def run(
    clock: Clock,
    kind: str,
    group: str,
    events: int,
    workers: int,
    handlers: int,
    seconds: float,
    on_one_processor: bool = False,
) -> dict[str, Any]:
    if on_one_processor:  # and all threads that begin from now on
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    declared = ConsumerGroup(group)
    calls = [declare(declared, kind, number, seconds) for number in range(handlers)]
    with sparing_what_there_is():
        consume(clock, Service([declared], limits=Limits(workers=workers)), calls, kind, events)
    return {"seen": [told(each) for each in calls]}


def consume(clock: Clock, service: Service, calls: list[Calls], kind: str, events: int) -> None:
    """Until each handler has had all events."""
    clock.wait_for_start()
    service.begin()
    while not service.is_assigned:
        service.wait(timeout=0.001)
    clock.begin()
    while any(len(each) < events for each in calls):
        if service.wait(timeout=0.01):  # seldom enough to cost nothing
            raise RuntimeError("the group has ended")
    if kind in ("insert", "batch"):
        wait_for_effects(events)
    clock.end()
    assert service.stop(30), "a handler did not end"
    connections.close_all()


def told(calls: Calls) -> Any:
    return {"count": len(calls), "in order": calls.in_order} if isinstance(calls, Counted) else calls


def declare(group: ConsumerGroup, kind: str, number: int, seconds: float) -> Calls:
    """Declare a handler; what is known of its calls."""
    calls: Calls = Counted() if kind == "counted" else []

    def no_op(event: Event[Measured]) -> None:
        calls.append((event.key, event.payload.number))

    def slow(event: Event[Measured]) -> None:
        time.sleep(seconds)
        calls.append((event.key, event.payload.number))

    def insert(event: Event[Measured]) -> None:
        Effect.objects.create(key=event.key or "", number=event.payload.number)
        calls.append((event.key, event.payload.number))

    def batch(events: list[Event[Measured]]) -> None:
        Effect.objects.bulk_create(Effect(key=event.key or "", number=event.payload.number) for event in events)
        for event in events:
            calls.append((event.key, event.payload.number))

    name = f"{kind}-{number}"
    if kind == "batch":
        options: dict[str, Any] = {"batch": getattr(django_events, "Batch")(size=BATCH_SIZE)}  # noqa: B009
        declared: Any = group.exactly_once(measured, name=name, **options)
        declared(batch)
    elif kind == "insert":
        group.exactly_once(measured, name=name)(insert)
    else:
        group.idempotent(measured, name=name)(slow if kind == "slow" else no_op)
    return calls


def wait_for_effects(events: int) -> None:
    """Wait until the last transaction is committed."""
    with connection.cursor() as cursor:
        while True:
            cursor.execute(own_look("SELECT count(*) FROM site_effect"))
            if cursor.fetchone()[0] >= events:
                return
            time.sleep(0.002)
