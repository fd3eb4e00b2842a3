"""A consumer that handles what has arrived in one transaction, and knows when it was committed."""

import time
from typing import Any

import django
from confluent_kafka import Consumer

from benchmarks.child import Clock

django.setup()

from django.db import connections  # noqa: E402

from benchmarks.handwritten.consume import decode, handle, insert_each  # noqa: E402


def run(clock: Clock, group: str, events: int, servers: str, prefix: str) -> dict[str, Any]:
    handled: dict[str, float] = {}
    assigned: list[bool] = []
    options = {"bootstrap.servers": servers, "group.id": prefix + group, "auto.offset.reset": "earliest"}
    consumer = Consumer(options | {"enable.auto.commit": False})
    consumer.subscribe([prefix + "bench.measured"], on_assign=lambda *_: assigned.append(True))
    while not assigned:
        consumer.poll(0.1)
    clock.wait_for_start()
    while len(handled) < events:
        first = consumer.poll(0.1)
        if first is None or first.error():
            continue
        records = [first, *consumer.consume(49, timeout=0)]
        handle(records, insert_each)
        now = time.time()
        handled.update({str(decode(record.value()).number): now for record in records})
        consumer.commit(asynchronous=True)
    clock.end()
    consumer.close()
    connections.close_all()
    return {"handled": handled}
