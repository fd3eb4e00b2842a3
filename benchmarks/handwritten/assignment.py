"""A bare consumer until it has partitions."""

from typing import Any

from confluent_kafka import Consumer

from benchmarks.child import Clock
from benchmarks.membership import partitions_of


def run(clock: Clock, group: str, servers: str, prefix: str) -> dict[str, Any]:
    clock.wait_for_start()
    consumer = Consumer({"bootstrap.servers": servers, "group.id": prefix + group, "auto.offset.reset": "earliest"})
    consumer.subscribe([prefix + "bench.measured"], on_assign=lambda *_: clock.end())
    while not clock.ended:
        consumer.poll(0.1)
    found = partitions_of(servers, prefix + group, prefix + "bench.measured")
    consumer.close()
    return {"partitions": found}
