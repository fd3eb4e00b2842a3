"""A producer that sends records at a steady pace, and waits for each to be acknowledged."""

import time
from typing import Any

import msgspec
from confluent_kafka import Producer

from benchmarks.child import Clock
from benchmarks.handwritten.outbox import PADDING, TOPIC
from benchmarks.pace import at_pace


def run(clock: Clock, rate: float, events: int, servers: str, prefix: str) -> dict[str, Any]:
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "linger.ms": 0})

    def send(thread: int, number: int) -> None:
        value = msgspec.json.encode({"number": number, "at": time.time(), "padding": PADDING})
        producer.produce(prefix + TOPIC, value, f"key-{thread}", headers=[("content-type", b"application/json")])
        assert producer.flush(30) == 0

    clock.wait_for_start()
    at_pace(rate, events, 1, send, lambda: None)
    return {}
