"""Where a group reads in the partitions that it is assigned, also in those in which it has no offset yet.

librdkafka 2.16 would ask for the group's offsets by itself, but not again where Kafka refuses that, as a coordinator
does that has just moved: then it never reads those partitions, and only a line of the log tells of it (its issue 5586).
So it is always told.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Literal, TypeAlias

import confluent_kafka
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from django_events.exceptions import BrokerUnavailable, ConsumerFailed
from django_events.kafka import topics
from django_events.kafka.errors import ABSENCE, LastError

Start: TypeAlias = Literal["earliest", "latest"] | datetime

Asking: TypeAlias = Callable[[], tuple[AdminClient, LastError]]
"""Gives a client that asks, always the same."""

ANSWER = 1.0
"""Seconds that Kafka has for one answer: how late a stop may be noticed."""

PAUSE = 0.2
"""Seconds between two tries."""

PATIENCE = 60.0
"""Seconds for which Kafka is asked again that refuses to tell."""

PATIENCE_WITH_NOBODY = 240.0
"""Seconds for which a Kafka is asked again that does not answer; below max.poll.interval.ms (300 s), in which the group
waits for us."""


def first_offsets(
    client: confluent_kafka.Consumer,
    assigned: Sequence[TopicPartition],
    start: Start,
    is_stopping: Callable[[], bool] = lambda: False,
) -> list[TopicPartition] | None:
    """The assigned partitions, each with the group's offset, or where the group begins there for the first time. With
    another ``start`` than "earliest" that is committed, so that the beginning stays where it is. Blocks until Kafka
    answers, or the group is to stop: then it is None.

    Raises ConsumerFailed if Kafka refuses to tell for a minute, or does not answer for four: beginning elsewhere would
    lose or repeat events.
    """
    asking = cache(topics.client)
    begun = time.monotonic()
    while not is_stopping():
        try:
            return _first_offsets(client, assigned, start, asking)
        except (KafkaException, BrokerUnavailable) as error:
            patience = PATIENCE_WITH_NOBODY if _is_silence(error) else PATIENCE
            if time.monotonic() - begun >= patience:
                reason = error.args[0].str() if isinstance(error, KafkaException) else str(error)
                raise ConsumerFailed(
                    f"Kafka does not say where the group is to begin: {reason}. Nothing was read there. See to "
                    "Kafka, or to the rights of the group, and start this process again."
                ) from error
            time.sleep(PAUSE)
    return None


def _is_silence(error: KafkaException | BrokerUnavailable) -> bool:
    """Whether it only says that there is nobody who could answer."""
    return isinstance(error, BrokerUnavailable) or error.args[0].code() in _SILENCE


_SILENCE = ABSENCE | {
    KafkaError._WAIT_COORD,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_COORDINATOR,
}


def _first_offsets(
    client: confluent_kafka.Consumer, assigned: Sequence[TopicPartition], start: Start, asking: Asking
) -> list[TopicPartition]:
    found = _committed(client, assigned)
    if start != "earliest" and (new := {each.topic for each in found if each.offset < 0}):
        _begin(client, _partitions_of(new, asking), start)
        found = _committed(client, assigned)
    return [
        each if each.offset >= 0 else TopicPartition(each.topic, each.partition, OFFSET_BEGINNING) for each in found
    ]


def _begin(client: confluent_kafka.Consumer, partitions: Sequence[TopicPartition], start: Start) -> None:
    """Commit where the group is to begin in those of the partitions in whose topics it has no offset at all. In a topic
    that it has begun with, a new partition is read from its first event: nothing in it can be older than the group."""
    found = _committed(client, partitions)
    begun = {each.topic for each in found if each.offset >= 0}
    begins = _beginnings(client, [each for each in found if each.topic not in begun], start)
    if begins:  # another process may have begun meanwhile: what it has committed stays
        still_new = {(each.topic, each.partition) for each in _committed(client, begins) if each.offset < 0}
        begins = [each for each in begins if (each.topic, each.partition) in still_new]
    if begins:
        client.commit(offsets=begins, asynchronous=False)


def _partitions_of(wire_topics: Iterable[str], asking: Asking) -> list[TopicPartition]:
    """All partitions of these topics, asked with a client of its own: ``list_topics`` of a consumer that is in ``poll``
    has its next callback end the whole process (``CallState_get`` of confluent-kafka 2.16)."""
    found = topics.metadata(*asking(), ANSWER).topics
    partitions = []
    for topic in wire_topics:
        if topic not in found or found[topic].error:  # what is assigned exists: this node has not heard of it yet
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        partitions += [TopicPartition(topic, number) for number in found[topic].partitions]
    return partitions


def _committed(client: confluent_kafka.Consumer, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
    """The group's offset in each of these partitions; below zero where it has none."""
    answers: list[TopicPartition] = client.committed(list(partitions), timeout=ANSWER) if partitions else []
    for each in answers:
        if each.error:
            raise KafkaException(each.error)
    return answers


def _beginnings(
    client: confluent_kafka.Consumer, partitions: list[TopicPartition], start: Start
) -> list[TopicPartition]:
    found = {}
    if isinstance(start, datetime) and partitions:
        at = max(int(start.timestamp() * 1000), 0)  # below, Kafka has other meanings
        wanted = [TopicPartition(each.topic, each.partition, at) for each in partitions]
        for each in client.offsets_for_times(wanted, timeout=ANSWER):
            if each.error:
                raise KafkaException(each.error)
            found[each.topic, each.partition] = each.offset
    return [
        TopicPartition(each.topic, each.partition, offset if offset >= 0 else _end(client, each))
        for each in partitions
        for offset in [found.get((each.topic, each.partition), -1)]
    ]


def _end(client: confluent_kafka.Consumer, partition: TopicPartition) -> int:
    """The offset after the partition's last record, which is also where a time after all records leads."""
    return int(client.get_watermark_offsets(partition, timeout=ANSWER)[1])
