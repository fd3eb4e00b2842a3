"""Where a group begins in partitions in which it has no offset yet."""

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Literal, TypeAlias

import confluent_kafka
from confluent_kafka import KafkaException, TopicPartition

from django_events.exceptions import ConsumerFailed

Start: TypeAlias = Literal["earliest", "latest"] | datetime

ANSWER = 1.0
"""Seconds that Kafka has for one answer: how late a stop may be noticed."""

PAUSE = 0.2
"""Seconds between two tries."""

PATIENCE = 60.0
"""Seconds for which Kafka is asked again; far below max.poll.interval.ms (300 s), in which the group waits for us."""


def first_offsets(
    client: confluent_kafka.Consumer,
    assigned: Sequence[TopicPartition],
    start: Start,
    is_stopping: Callable[[], bool] = lambda: False,
) -> list[TopicPartition] | None:
    """The assigned partitions, with an offset where the group begins there for the first time; it is committed, so that
    the beginning stays where it is. Blocks until Kafka answers, or the group is to stop: then it is None.

    Raises ConsumerFailed if that takes longer than a minute: beginning elsewhere would lose or repeat events.
    """
    deadline = time.monotonic() + PATIENCE
    while not is_stopping():
        try:
            return _first_offsets(client, assigned, start)
        except KafkaException as error:
            if time.monotonic() >= deadline:
                reason = error.args[0].str()
                raise ConsumerFailed(f"Kafka does not say where the group is to begin: {reason}") from error
            time.sleep(PAUSE)
    return None


def _first_offsets(
    client: confluent_kafka.Consumer, assigned: Sequence[TopicPartition], start: Start
) -> list[TopicPartition]:
    new_topics, new_partitions = _without_offset(client, {each.topic for each in assigned})
    begins = _beginnings(client, [each for each in new_partitions if each.topic in new_topics], start)
    if begins:  # another process may have begun meanwhile: what it has committed stays
        still_new = {(each.topic, each.partition) for each in _without_offset(client, new_topics)[1]}
        begins = [each for each in begins if (each.topic, each.partition) in still_new]
    if begins:
        client.commit(offsets=begins, asynchronous=False)
    known = {(each.topic, each.partition): each for each in begins}
    return [known.get((each.topic, each.partition), each) for each in assigned]


def _without_offset(client: confluent_kafka.Consumer, topics: Iterable[str]) -> tuple[set[str], list[TopicPartition]]:
    """The topics in which the group has no offset at all, and all partitions without one. In a topic that it has begun
    with, a new partition is read from its first event: nothing in it can be older than the group."""
    partitions = []
    for topic in topics:
        found = client.list_topics(topic, timeout=ANSWER).topics[topic]
        if found.error:  # what is assigned exists: this node has not heard of it yet
            raise KafkaException(found.error)
        partitions += [TopicPartition(topic, number) for number in found.partitions]
    answers = client.committed(partitions, timeout=ANSWER)
    for each in answers:
        if each.error:
            raise KafkaException(each.error)
    begun = {each.topic for each in answers if each.offset >= 0}
    return set(topics) - begun, [TopicPartition(each.topic, each.partition) for each in answers if each.offset < 0]


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
