"""Reads partitions from the offsets that it is told, in no group and without a trace in Kafka.

Blocking; every wait is bounded.
"""

import os
import time
import weakref
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AclOperation

from django_events.exceptions import ConsumerFailed, KafkaRefused
from django_events.kafka import clients, config, names, positions, topics
from django_events.kafka.consumer import LONGEST_POLL, received
from django_events.kafka.consumer_troubles import Troubles
from django_events.kafka.errors import ClientHangs, answer_of
from django_events.kafka.record import Partition, ReceivedRecord
from django_events.kafka.statistics import Statistics

ANSWER = 5.0
"""Seconds that Kafka has for one answer."""

LEADERS = 2.0
"""Seconds at most until partitions are read whose leaders Kafka does not tell: they may have none for long."""

LOOK_AGAIN = 0.02
"""Seconds between two questions for leaders."""


class TopicInKafka(NamedTuple):
    """A topic as it is now."""

    id: str
    """Another one when the topic was deleted and made again."""
    partitions: frozenset[Partition]


class NotThere(NamedTuple):
    """Kafka does not have what was to be read next: it was deleted, or the topic is gone or another one."""

    partition: Partition


class AtEnd(NamedTuple):
    """Everything that this partition had is read."""

    partition: Partition


class Follower:
    """One librdkafka consumer, and a client that asks. Owned by one thread; not thread-safe."""

    def __init__(self, who: str) -> None:
        """``who`` is how lines of the log call it. Raises SettingsError for options that lose events. Does not wait for
        Kafka."""
        self._who = who
        self._troubles = Troubles(who)
        options = config.follower_options() | {"error_cb": self._troubles}
        self._statistics = Statistics(options, config.STATISTICS)
        self._hangs = False
        self._client = clients.make(confluent_kafka.Consumer, options | self._statistics.options)
        self._admin, self._last_error = topics.client()
        self._partitions = names.Partitions()
        self._assigned: frozenset[Partition] = frozenset()
        _followers.add(self)

    def look(self, wanted: Collection[str]) -> dict[str, TopicInKafka | KafkaRefused]:
        """Those of the topics that Kafka has now, or why it does not let us read them; creates none. Raises
        BrokerUnavailable, and ConsumerFailed for a client that hangs."""
        asked = TopicCollection([names.on_wire(topic) for topic in sorted(wanted)])
        answers = self._admin.describe_topics(asked, include_authorized_operations=True, request_timeout=ANSWER)
        found: dict[str, TopicInKafka | KafkaRefused] = {}
        for wire_name, answer in answers.items():
            topic = names.off_wire(wire_name)
            try:
                with self._noting_a_hang():
                    found[topic] = self._described(topic, wire_name, answer)
            except KafkaRefused as error:
                if not _is_absence(error):
                    self._troubles.say_once(("look", topic), f"{self._who} does without a topic: {error}")
                    found[topic] = error
        return found

    def _described(self, topic: str, wire_name: str, answer: "Future[Any]") -> TopicInKafka:
        told = answer_of(answer, f"describe the topic {wire_name}", self._last_error, ANSWER)
        may = told.authorized_operations or ()  # empty: this Kafka does not say
        if may and AclOperation.READ not in may:
            raise KafkaRefused(f"Kafka does not let us read the topic {wire_name}. Give us the right to READ it")
        numbers = frozenset(Partition(topic, each.id) for each in told.partitions)
        return TopicInKafka(str(told.topic_id), numbers)

    def ends(self, partitions: Collection[Partition]) -> dict[Partition, tuple[int, int]]:
        """The offset of each partition's oldest record, and the one after the newest that may be read now.

        Raises BrokerUnavailable, or KafkaRefused for a partition that is not there, has no leader, or is not known
        everywhere yet; and ConsumerFailed for a client that hangs.
        """
        with self._noting_a_hang():
            return positions.ends(partitions, self._admin, self._last_error, ANSWER)

    @contextmanager
    def _noting_a_hang(self) -> Iterator[None]:
        try:
            yield
        except ClientHangs as error:
            self._hangs = True
            raise ConsumerFailed(str(error)) from error

    @property
    def is_silent(self) -> bool:
        """Whether the client has not said anything lately, as it does of its own accord. Perhaps it hangs; then
        ``assign`` would not come back, and nothing else in this process would go on."""
        return self._statistics.is_silent

    @property
    def cut_off(self) -> list[Partition] | None:
        """Those of the assigned partitions whose leader it did not reach a moment ago; None if it has not said yet."""
        return self._statistics.cut_off(self._assigned)

    def assign(self, offsets: Mapping[Partition, int]) -> None:
        """Read these partitions from these offsets on, and no others. Waits 2 s at most for the leaders of new ones."""
        self._learn_leaders(offsets.keys() - self._assigned)
        self._assigned = frozenset(offsets)
        wanted = [TopicPartition(names.on_wire(each.topic), each.number, at) for each, at in offsets.items()]
        self._client.assign(wanted)

    def _learn_leaders(self, partitions: Collection[Partition]) -> None:
        """Have the client know where to read. By itself it asks up to a second after it was told to read them, and of a
        topic that is only being made ten seconds later again."""
        deadline = time.monotonic() + LEADERS
        unknown = set(partitions)
        while unknown and (left := deadline - time.monotonic()) > 0:
            with suppress(KafkaException):  # Kafka is away: then nothing is to be read, either
                for topic in {each.topic for each in unknown}:
                    unknown.difference_update(self._led(topic, left))
            if unknown:
                time.sleep(LOOK_AGAIN)

    def _led(self, topic: str, timeout: float) -> Iterator[Partition]:
        """The topic's partitions that have a leader."""
        wire_name = names.on_wire(topic)
        told = self._client.list_topics(wire_name, timeout=timeout).topics[wire_name]
        return (Partition(topic, number) for number, each in told.partitions.items() if each.leader >= 0)

    def poll(self, timeout: float) -> ReceivedRecord | AtEnd | NotThere | None:
        """What is next, or None if there is nothing within ``timeout`` seconds (0.1 at most).

        Raises ConsumerFailed if this consumer can never go on.
        """
        if self._statistics.hangs():
            self._hangs = True
            raise ConsumerFailed(f"{self._who} has a client that hangs (librdkafka#5476)")
        self._troubles.renew_credentials(self._client)
        polled = self._client.poll(min(timeout, LONGEST_POLL))
        if polled is None:
            return None
        error = polled.error()
        if error is None:
            return received(polled, self._partitions[polled.topic(), polled.partition()])
        if error.code() == KafkaError._FATAL or error.fatal():
            raise ConsumerFailed(f"{self._who} cannot go on with this client: {error}")
        if polled.topic() is None or polled.partition() is None or polled.partition() < 0:
            self._troubles.say_once((error.code(),), f"{self._who} has trouble: {error.str()}. It goes on")
            return None
        partition = self._partitions[polled.topic(), polled.partition()]
        if error.code() == KafkaError._PARTITION_EOF:
            return AtEnd(partition)
        if error.code() in _NOT_THERE:
            return NotThere(partition)
        otherwise = "then start the process again, which also passes the batch over: it begins at the end"
        self._troubles.say_of_partition(error, f"{polled.topic()}[{partition.number}]", otherwise)
        return None

    def close(self) -> None:
        """Let go of Kafka. Does not wait."""
        if self._hangs:
            self.forget_clients()
        else:
            self._client.close()

    def forget_clients(self) -> None:
        """Keep the clients for ever. To destroy them may hang, in a child process and where one of them does."""
        for client in (self._client, self._admin):
            clients.never_destroy(client)


_NOT_THERE = frozenset(
    (
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError.OFFSET_OUT_OF_RANGE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.UNKNOWN_TOPIC_ID,
    )
)


def _is_absence(error: KafkaRefused) -> bool:
    cause = error.__cause__
    return isinstance(cause, KafkaException) and cause.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART


_followers: "weakref.WeakSet[Follower]" = weakref.WeakSet()


def _after_fork() -> None:
    for follower in list(_followers):
        follower.forget_clients()


os.register_at_fork(after_in_child=_after_fork)
