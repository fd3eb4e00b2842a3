"""What lies between two offsets is read to its end."""

from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError

from django_events.kafka.record import Partition
from django_events.kafka.spans import Reader, Span
from tests.refusing_kafka import RefusingKafka

PLACE = Partition("orders", 0)


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


def test_the_end_that_a_new_leader_shows_at_first_is_not_taken_for_the_end(refusing_kafka: RefusingKafka) -> None:
    """How far its followers are, and so what may be read, it knows only when they have asked it for more."""
    refusing_kafka.create(PLACE.topic)
    producer = confluent_kafka.Producer({"bootstrap.servers": refusing_kafka.bootstrap_servers})

    def put(count: int) -> None:
        for _ in range(count):
            producer.produce(PLACE.topic, b"{}", b"a", PLACE.number)
        producer.flush()

    put(5)
    reader = Reader("sales")
    reader.client = Lagging(reader.client, lambda: put(3))
    try:
        assert [record.offset for record in reader.read([Span(PLACE, 0, 8)])] == [*range(8)]
    finally:
        reader.close()
