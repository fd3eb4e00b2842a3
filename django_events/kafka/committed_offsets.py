"""The committed offsets of a group, asked by a client that could join it and does not.

A client for administration must not ask: librdkafka 2.16 crashes when the answer is that the group's coordinator is
starting or has moved, because such a client has no group in which to look for another.
"""

from collections.abc import Collection

import confluent_kafka
from confluent_kafka import KafkaException, TopicPartition

from django_events.kafka import clients, config, names
from django_events.kafka.errors import LastError, failure_of
from django_events.kafka.record import Partition


class CommittedOffsets:
    """Those of one group. Used by one thread; ``close`` it."""

    def __init__(self, group: str) -> None:
        """Does not wait for Kafka. Raises SettingsError for options that lose events."""
        self._wire_name = names.on_wire(group)
        self._last_error = LastError()
        options = config.consumer_options(group) | {"error_cb": self._last_error}
        self._client = clients.make(confluent_kafka.Consumer, options)

    def of(self, partitions: Collection[Partition], timeout: float) -> dict[Partition, int]:
        """Those of these partitions that have one; none if Kafka does not know the group. Blocks for ``timeout``
        seconds at most. Raises BrokerUnavailable or KafkaRefused."""
        if not partitions:
            return {}
        wanted = [TopicPartition(names.on_wire(each.topic), each.number) for each in partitions]
        try:
            answers = self._client.committed(wanted, timeout=timeout)
            for each in answers:
                if each.error:
                    raise KafkaException(each.error)
        except KafkaException as error:
            what = f"tell the offsets of the group {self._wire_name!r}"
            raise failure_of(error, what, self._last_error) from error
        found = [each for each in answers if each.offset >= 0]
        return {Partition(names.off_wire(each.topic), each.partition): each.offset for each in found}

    def close(self) -> None:
        """Give the client up. It has never been in the group."""
        self._client.close()
