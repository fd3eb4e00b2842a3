"""A consumer in no group that reads all partitions from their present ends on, and notes how old each record is."""

import time
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from benchmarks.child import Clock
from benchmarks.handwritten.consume import decode
from benchmarks.handwritten.outbox import TOPIC


def run(clock: Clock, events: int, servers: str, prefix: str) -> dict[str, Any]:
    heard: list[tuple[str, int, float]] = []
    consumer = Consumer({"bootstrap.servers": servers, "group.id": prefix + "hearing", "enable.auto.commit": False})
    numbers = consumer.list_topics(prefix + TOPIC, timeout=30).topics[prefix + TOPIC].partitions
    places = [TopicPartition(prefix + TOPIC, number) for number in numbers]
    for place in places:
        place.offset = consumer.get_watermark_offsets(place, timeout=30)[1]
    consumer.assign(places)
    clock.wait_for_start()
    while len(heard) < events:
        record = consumer.poll(0.1)
        if record is None or record.error():
            continue
        body = decode(record.value())
        heard.append((record.key().decode(), body.number, time.time() - body.at))
    clock.end()
    consumer.close()
    return {"heard": heard}
