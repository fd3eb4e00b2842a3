"""Parts of topics, read by nobody's group and without a trace in Kafka.

Blocking; every wait is bounded.
"""

from collections.abc import Collection, Iterator
from typing import NamedTuple

import confluent_kafka
from confluent_kafka import KafkaError

from django_events.exceptions import BrokerUnavailable
from django_events.kafka import clients, config, names, positions, topics
from django_events.kafka.consumer import LONGEST_POLL, received, topic_partition
from django_events.kafka.errors import LastError, explained
from django_events.kafka.positions import Position
from django_events.kafka.record import Partition, ReceivedRecord
from django_events.stopping import Stop

SILENCE = 30.0
"""Seconds without a record after which Kafka is taken to be away."""


class Span(NamedTuple):
    """A part of a partition."""

    partition: Partition
    start: int
    """The first offset."""
    end: int
    """The offset after the last."""


def spans(topic: str, number: int | None, start: Position, end: Position, timeout: float) -> list[Span]:
    """What lies between the positions now, in all partitions of the topic or in that of this number; empty parts too.

    Raises BrokerUnavailable if Kafka does not answer within ``timeout`` seconds, KafkaRefused for what it
    does not have.
    """
    admin, last_error = topics.client()
    cluster = topics.metadata(admin, last_error, timeout)
    ends = positions.ends(positions.partitions_of(topic, cluster, number), admin, last_error, timeout)
    starts = positions.offsets(start, ends, admin, last_error, timeout)
    stops = positions.offsets(end, ends, admin, last_error, timeout)
    return [Span(each, starts[each], max(stops[each], starts[each])) for each in ends]


class Reader:
    """Reads spans. Not thread-safe; ``close`` it."""

    def __init__(self, group: str) -> None:
        """``group`` is whose access rights are used; nothing is committed for it."""
        self.last_error = LastError()
        options = {
            **config.consumer_options(group),
            "enable.partition.eof": True,
            "error_cb": self.last_error,
        }
        self.client = clients.make(confluent_kafka.Consumer, options)

    def read(self, wanted: Collection[Span], stop: Stop | None = None) -> Iterator[ReceivedRecord]:
        """The records of these spans, each partition in order, until ``stop``. Raises BrokerUnavailable if Kafka falls
        silent."""
        left = {each.partition: each.end for each in wanted if each.start < each.end}
        self.client.assign([topic_partition(each.partition, each.start) for each in wanted if each.partition in left])
        quiet = 0.0
        while left and not (stop and stop.is_set()):
            polled = self.client.poll(LONGEST_POLL)
            error = polled.error() if polled else None
            if polled is None or (error and error.code() != KafkaError._PARTITION_EOF):
                quiet += LONGEST_POLL  # librdkafka goes on after an error, and tells of it for as long as it lasts
                if quiet >= SILENCE:
                    why = f": {explained(error)}" if error else ""
                    raise BrokerUnavailable(f"Kafka at {config.brokers()} has sent nothing for {SILENCE:g} s{why}.")
                continue
            quiet = 0.0
            partition = Partition(names.off_wire(polled.topic()), polled.partition())
            end = left.get(partition)
            if end is None:  # fetched before the partition was paused
                continue
            # A new leader of the partition shows at first less than there is: that is not the end.
            if polled.offset() + (not error) >= end:
                del left[partition]
                self.client.pause([topic_partition(partition)])
            if not error and polled.offset() < end:
                yield received(polled, partition)

    def close(self) -> None:
        self.client.close()
