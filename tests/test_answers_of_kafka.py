"""What becomes of records, by what Kafka answers."""

from collections.abc import Iterator
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import TopicPartition

from django_events.kafka import config
from django_events.kafka.first_records import FirstRecords
from django_events.kafka.producer import Producer
from django_events.kafka.record import Record
from tests.refusing_kafka import NOT_ENOUGH_REPLICAS, RefusingKafka

COUNT = 20


@pytest.fixture
def kafka(settings: Any) -> Iterator[RefusingKafka]:
    with RefusingKafka() as kafka:
        servers = {"bootstrap.servers": kafka.bootstrap_servers}
        settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA": servers, "PREFIX": ""}
        kafka.create("orders")
        yield kafka


@pytest.mark.parametrize("key", [b"a", None])
def test_what_kafka_cannot_take_at_that_moment_is_not_told_as_acknowledged(
    kafka: RefusingKafka, key: bytes | None
) -> None:
    """The next one is on its way already, and Kafka takes it, because it does not know the producer yet."""
    producer = Producer(config.producer_options() | {"batch.num.messages": 1})
    producer.connect(30)
    kafka.refuse_records(NOT_ENOUGH_REPLICAS, after=0.5)
    deliveries = producer.send([(number, Record("orders", key, b"%d" % number, [])) for number in range(COUNT)], 60)
    producer.discard()
    assert (sorted(deliveries.acknowledged), deliveries.failure) == (list(range(COUNT)), None)
    looking = confluent_kafka.Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "looking"})
    assert looking.get_watermark_offsets(TopicPartition("orders", 0), timeout=30) == (0, COUNT)
    looking.close()


def without_key(count: int) -> list[tuple[int, Record]]:
    return [(number, Record("orders", None, b"", [])) for number in range(count)]


def test_records_without_key_go_to_one_new_partition_after_another_until_all_know_the_producer() -> None:
    known = FirstRecords("murmur2_random")
    known.learn({"orders": 3}, {"orders": [1]})
    chosen = []
    for _ in range(2):
        first, others = known.split(without_key(5))
        assert ([token for token, _ in first], [token for token, _ in others]) == ([0], [1, 2, 3, 4])
        chosen.append(known.without_key["orders"])
        known.have_arrived(first)
    assert set(chosen) == {0, 2}, "the one without leader is left out"
    assert known.split(without_key(1))[0] == [] and known.without_key["orders"] in {0, 2}

    known.learn({"orders": 3}, {"orders": []})
    first, _ = known.split(without_key(2))
    assert known.without_key == {"orders": 1}
    known.have_arrived(first)
    assert known.split(without_key(2))[0] == [] and known.without_key == {}
