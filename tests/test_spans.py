"""What lies between two offsets is read to its end."""

from collections.abc import Callable
from typing import Any, TypeAlias

import confluent_kafka
import pytest
from confluent_kafka import KafkaError

from django_events.kafka.oldest_records import OldestRecords
from django_events.kafka.record import Partition
from django_events.kafka.spans import Reader, Span
from tests.refusing_kafka import RefusingKafka

PLACE = Partition("orders", 0)
Put: TypeAlias = Callable[[int], None]


class Lagging:
    """A client to which the partition's leader shows more records as soon as it has shown an end."""

    def __init__(self, client: Any, show_more: Any) -> None:
        self._client = client
        self._show_more = show_more

    def poll(self, timeout: float) -> Any:
        polled = self._client.poll(timeout)
        if polled is not None and polled.error() and polled.error().code() == KafkaError._PARTITION_EOF:
            self._show_more()
        return polled

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


@pytest.fixture
def put(refusing_kafka: RefusingKafka) -> Put:
    """Have so many records more."""
    refusing_kafka.create(PLACE.topic)
    producer = confluent_kafka.Producer({"bootstrap.servers": refusing_kafka.bootstrap_servers})

    def put(count: int) -> None:
        for _ in range(count):
            producer.produce(PLACE.topic, b"{}", b"a", PLACE.number)
        producer.flush()

    return put


def test_the_end_that_a_new_leader_shows_at_first_is_not_taken_for_the_end(put: Put) -> None:
    """How far its followers are, and so what may be read, it knows only when they have asked it for more."""
    put(5)
    reader = Reader("sales")
    reader.client = Lagging(reader.client, lambda: put(3))
    try:
        assert [record.offset for record in reader.read([Span(PLACE, 0, 8)])] == [*range(8)]
    finally:
        reader.close()


def test_a_record_that_a_new_leader_does_not_show_yet_is_looked_for_up_to_the_end(put: Put) -> None:
    put(5)
    records = OldestRecords("sales")
    records._client = Lagging(records._client, lambda: put(1))
    try:
        assert records.of([Span(PLACE, 5, 6)], 60)[PLACE] is not False
        assert records.of([Span(PLACE, 6, 6)], 60)[PLACE] is False
    finally:
        records.close()
