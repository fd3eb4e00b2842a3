"""``manage.py consume`` until its group has partitions."""

from typing import Any

from benchmarks.child import Clock, set_up_django
from benchmarks.membership import partitions_of

set_up_django()

from django.db import connections  # noqa: E402

from benchmarks.product.consume import declare  # noqa: E402
from django_events import ConsumerGroup  # noqa: E402
from django_events.consuming.service import Service  # noqa: E402


def run(clock: Clock, group: str, servers: str, prefix: str) -> dict[str, Any]:
    declared = ConsumerGroup(group)
    declare(declared, "no-op", 0, 0.0)
    service = Service([declared])
    clock.wait_for_start()
    service.begin()
    while not service.is_assigned:
        service.wait(timeout=0.001)
    clock.end()
    found = partitions_of(servers, prefix + group, prefix + "bench.measured")
    service.stop(30)
    connections.close_all()
    return {"partitions": found}
