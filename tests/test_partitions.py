"""A key goes to the partition that Java clients choose for it, so that all services agree where it lives."""

import os
import random
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from django_events import Topic
from django_events.kafka import config
from django_events.kafka.partitioning import partition_of
from django_events.kafka.producer import Producer
from django_events.kafka.record import Record
from django_events.producing.immediate import immediate
from django_events.testing import sending
from tests.broker import Broker
from tests.services import REQUIRED
from tests.services.installing import Unavailable, find, kafka_jars

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("declarations")]

PARTITIONS = 13
TEXTS = ["", "a", "42", "0" * 1_000, "ä", "日本語", "\N{SNOWMAN}", "🦆" * 5, "null"]


def java_chooses(keys: Iterable[bytes]) -> dict[bytes, int]:
    """What Kafka's own Java producer chooses."""
    keys = list(keys)
    try:
        find("javac", "openjdk-17-jdk-headless")
        jars = kafka_jars()
    except Unavailable as error:
        (pytest.fail if os.environ.get(REQUIRED) else pytest.skip)(f"no Java to ask: {error}")
    command = ["java", "-cp", f"{jars}/*", str(Path(__file__).parent / "java" / "Partitions.java"), str(PARTITIONS)]
    done = subprocess.run(command, input="".join(f"{key.hex()}\n" for key in keys), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(zip(keys, map(int, done.stdout.split()), strict=True))


def some_keys() -> set[bytes]:
    """Some thousand keys of all lengths, also such as are no text."""
    chance = random.Random(4711)
    texts = {text.encode() for text in [*TEXTS, "\0"]} | {str(number).encode() for number in range(1_000)}
    return texts | {chance.randbytes(length % 64) for length in range(3_000)}


def found_in_kafka(broker: Broker, topic: str) -> dict[bytes | None, int]:
    return {record.key: record.partition for record in broker.read(topic)}


def test_keys_of_all_kinds_lie_where_java_puts_them(broker: Broker) -> None:
    keys = some_keys()
    assert len(keys) > 3_000
    broker.create("keys", PARTITIONS)
    producer = Producer(config.producer_options())
    producer.connect(30)
    deliveries = producer.send(((n, Record("keys", key, b"", [])) for n, key in enumerate(keys)), 60)
    assert len(deliveries.acknowledged) == len(keys)
    assert found_in_kafka(broker, "keys") == java_chooses(keys)


def test_keys_of_events_lie_where_java_puts_them(broker: Broker) -> None:
    topic = Topic("keys", dict[str, Any], partitions=PARTITIONS)
    immediate._discard()
    with sending():
        topic.send_many_now([topic.event({}, key=key) for key in TEXTS], timeout=30)
    immediate._discard()
    assert found_in_kafka(broker, "keys") == java_chooses(key.encode() for key in TEXTS)


@pytest.mark.parametrize(
    "partitioner", ["murmur2", "murmur2_random", "consistent", "consistent_random", "fnv1a", "fnv1a_random"]
)
def test_we_know_beforehand_where_librdkafka_puts_a_key(broker: Broker, partitioner: str) -> None:
    keys = {key for key in some_keys() if key}  # for an empty one, some of them choose any partition
    broker.create("keys", PARTITIONS)
    producer = Producer(config.producer_options() | {"partitioner": partitioner})
    producer.connect(30)
    producer.send(((n, Record("keys", key, b"", [])) for n, key in enumerate(keys)), 60)
    assert found_in_kafka(broker, "keys") == {key: partition_of(key, PARTITIONS, partitioner) for key in keys}


def test_a_partitioner_that_does_not_go_by_keys_is_known_as_such() -> None:
    assert partition_of(b"key", PARTITIONS, "random") is None
