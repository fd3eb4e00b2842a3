"""When the first records of spans were written. Read without a group's knowledge, and without a trace in Kafka.

Blocking; the wait is bounded.
"""

import time
from collections.abc import Collection

import confluent_kafka
from confluent_kafka import KafkaError, TopicPartition

from django_events.kafka import clients, config, names
from django_events.kafka.consumer import LONGEST_POLL
from django_events.kafka.errors import LastError
from django_events.kafka.record import Partition
from django_events.kafka.spans import Span

Timestamp = int | None
"""Milliseconds since 1970 (UTC); None if the record has none."""

ONLY_A_LITTLE = {"max.partition.fetch.bytes": 16_384, "queued.min.messages": 1, "fetch.wait.max.ms": 100}
"""One record of each partition is wanted; Kafka sends at least one, however large it is."""


class OldestRecords:
    """Looks records up. Not thread-safe; ``close`` it."""

    def __init__(self, group: str) -> None:
        """``group`` is whose access rights are used."""
        options = {
            **config.consumer_options(group),
            **ONLY_A_LITTLE,
            "enable.partition.eof": True,
            "error_cb": LastError(),
        }
        self._client = clients.make(confluent_kafka.Consumer, options)

    def of(self, spans: Collection[Span], timeout: float) -> dict[Partition, Timestamp | bool]:
        """The time of the first record at or after the start of each span; False if there is none up to its end.

        A partition that has not answered within ``timeout`` seconds is missing, as one whose new leader does not know
        yet what it has.
        """
        found: dict[Partition, Timestamp | bool] = {}
        ends = {each.partition: each.end for each in spans}
        self._client.assign([TopicPartition(names.on_wire(of.topic), of.number, start) for of, start, _ in spans])
        deadline = time.monotonic() + timeout
        while len(found) < len(ends) and time.monotonic() < deadline:
            polled = self._client.poll(LONGEST_POLL)
            if polled is None:
                continue
            error = polled.error()
            if error is None or error.code() == KafkaError._PARTITION_EOF:
                partition = Partition(names.off_wire(polled.topic()), polled.partition())
                if error is None or polled.offset() >= ends[partition]:
                    found.setdefault(partition, False if error else _time_of(polled))
        return found

    def close(self) -> None:
        self._client.close()


def _time_of(polled: confluent_kafka.Message) -> Timestamp:
    kind, timestamp = polled.timestamp()
    return None if kind == confluent_kafka.TIMESTAMP_NOT_AVAILABLE else timestamp
