"""Has a fresh Kafka do once what takes it longer the first times, so that no run pays for it."""

import uuid

from confluent_kafka import Consumer, Producer

from benchmarks import checking
from benchmarks.filling import Load, fill_topic
from benchmarks.place import delete_topics
from tests.broker import Broker

PARTITIONS = 8


def warm_up(bootstrap_servers: str, records: int) -> None:
    """Have one consumer group, and write and read so many records; Django must have been set up."""
    broker = Broker(bootstrap_servers, f"bench_{uuid.uuid4().hex[:8]}.")
    _have_a_group(broker)
    _write_and_read(broker, records)
    delete_topics(broker)


def _have_a_group(broker: Broker) -> None:
    """Kafka makes the topic of all offsets for the first one."""
    bootstrap_servers, name = broker.bootstrap_servers, broker.prefix
    broker.create("warm", 1)
    producer = Producer({"bootstrap.servers": bootstrap_servers, "enable.idempotence": True})
    producer.produce(f"{name}warm", b"")
    assert producer.flush(60) == 0
    options = {"bootstrap.servers": bootstrap_servers, "group.id": name, "auto.offset.reset": "earliest"}
    consumer = Consumer(options | {"enable.auto.commit": False})
    consumer.subscribe([f"{name}warm"])
    assert consumer.poll(60) is not None, "Kafka gave the first group nothing within 60 s"
    consumer.close()


def _write_and_read(broker: Broker, records: int) -> None:
    """Java compiles only what has often been run: until then each record costs it more."""
    fill_topic(broker, Load(records), PARTITIONS)
    found = sum(len(numbers) for numbers in checking.numbers_sent(broker).values())
    assert found == records, f"Kafka has {found:,} of {records:,} records"
