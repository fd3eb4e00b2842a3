"""Has a fresh Kafka do once what takes it seconds the first time, so that no run pays for it."""

import uuid

from confluent_kafka import Consumer, Producer

from benchmarks.place import delete_topics
from tests.broker import Broker


def warm_up(bootstrap_servers: str) -> None:
    """Send one record and have one consumer group: Kafka makes the topic of all offsets for the first one."""
    name = f"bench_{uuid.uuid4().hex[:8]}."
    broker = Broker(bootstrap_servers, name)
    broker.create("warm", 1)
    producer = Producer({"bootstrap.servers": bootstrap_servers, "enable.idempotence": True})
    producer.produce(f"{name}warm", b"")
    assert producer.flush(60) == 0
    options = {"bootstrap.servers": bootstrap_servers, "group.id": name, "auto.offset.reset": "earliest"}
    consumer = Consumer(options | {"enable.auto.commit": False})
    consumer.subscribe([f"{name}warm"])
    assert consumer.poll(60) is not None, "Kafka gave the first group nothing within 60 s"
    consumer.close()
    delete_topics(broker)
