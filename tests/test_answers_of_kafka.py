"""What becomes of records, by what Kafka answers."""

from collections.abc import Iterator
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, TopicPartition

from django_events.exceptions import BrokerUnavailable
from django_events.kafka import config
from django_events.kafka.first_records import FirstRecords
from django_events.kafka.producer import Producer
from django_events.kafka.record import Record
from tests.refusing_kafka import CLUSTER_AUTHORIZATION_FAILED, NOT_ENOUGH_REPLICAS, RefusingKafka

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


@pytest.mark.parametrize(("delays", "were_coming"), [([0.5] * 100, True), ([0, 60], False)])
def test_answers_that_come_too_late_are_told_from_those_that_do_not_come(
    kafka: RefusingKafka, delays: list[float], were_coming: bool
) -> None:
    producer = Producer(config.producer_options() | {"batch.num.messages": 1})
    producer.connect(30)
    known = producer.send([(0, Record("orders", b"a", b"", []))], 60)  # to get to know each other takes a while
    assert known.failure is None
    kafka.delay_records(*delays)
    records = [(number, Record("orders", b"a", b"", [])) for number in range(100)]
    deliveries = producer.send(records, 5)
    producer.discard()
    assert 1 <= len(deliveries.acknowledged) < len(records)
    assert (deliveries.silent, deliveries.were_coming) == ({"orders"}, were_coming)


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


@pytest.mark.parametrize(
    ("code", "is_its_own"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, True),
        (KafkaError.RECORD_LIST_TOO_LARGE, True),  # than a segment of the log
        (KafkaError.INVALID_TIMESTAMP, False),  # a clock is wrong: the record has no time of its own
        (KafkaError.UNKNOWN, False),
        (KafkaError.UNSUPPORTED_COMPRESSION_TYPE, False),
    ],
)
def test_what_kafka_refuses_is_the_record_or_else_its_topic(kafka: RefusingKafka, code: int, is_its_own: bool) -> None:
    producer = Producer(config.producer_options())
    producer.connect(30)
    kafka.refuse_records(code)
    deliveries = producer.send([(7, Record("orders", b"a", b"", []))], 60)
    producer.discard()
    assert (set(deliveries.row_errors), set(deliveries.topic_errors)) == (
        ({7}, set()) if is_its_own else (set(), {"orders"})
    )


def test_an_event_larger_than_all_that_this_process_declares_is_for_kafka_to_refuse(kafka: RefusingKafka) -> None:
    """It comes from newer code, whose declaration this process does not have, or not yet."""
    producer = Producer(config.producer_options())
    producer.connect(30)
    deliveries = producer.send([(7, Record("orders", b"a", bytes(3_000_000), []))], 60)
    producer.discard()
    assert (deliveries.acknowledged, deliveries.failure) == ([7], None)


def test_who_may_not_produce_at_all_is_told_so_in_the_same_words_each_time(kafka: RefusingKafka) -> None:
    kafka.refuse_producer(CLUSTER_AUTHORIZATION_FAILED)
    producer = Producer(config.producer_options())
    producer.connect(30)
    deliveries = producer.send([(number, Record("orders", b"a", b"", [])) for number in range(5)], 60)
    producer.discard()
    assert deliveries.failure == "Failed to acquire idempotence PID: Broker: Cluster authorization failed"


def test_a_kafka_that_is_away_is_told_so_also_where_one_may_not_produce(kafka: RefusingKafka) -> None:
    """That comes out of the client whenever it is asked for its news."""
    kafka.refuse_producer(CLUSTER_AUTHORIZATION_FAILED)
    producer = Producer(config.producer_options())
    producer.connect(30)
    kafka.stop()
    with pytest.raises(BrokerUnavailable):
        producer.connect(1)
    producer.discard()
