"""A process with many subscriptions, of one key each, that reads what it is sent."""

from typing import Any

from benchmarks.child import Clock, set_up_django

set_up_django()

from benchmarks.filling import Load  # noqa: E402
from benchmarks.site.events import measured  # noqa: E402


def run(clock: Clock, events: int, keys: int) -> dict[str, Any]:
    expected = Load(events, keys=keys).expected()
    opened = {key: measured.subscribe(key=key, limit=events).open() for key in expected}
    clock.wait_for_start()
    got: dict[str, list[int]] = {key: [] for key in opened}
    for key, events_of_key in opened.items():
        while len(got[key]) < len(expected[key]) and (event := events_of_key.get(timeout=120)):
            if not any(got.values()):
                clock.begin()  # without the time in which the sender begins
            got[key].append(event.payload.number)
    clock.end()
    for each in opened.values():
        each.close()
    return {"got": got}
