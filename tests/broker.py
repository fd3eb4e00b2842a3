"""What a test sees in Kafka, through a client of its own that shares no code with the product."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ClusterMetadata,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    PartitionMetadata,
    ResourcePatternType,
    ResourceType,
)

from tests.waiting import wait_for

PATIENCE = 60.0
"""Seconds that Kafka has for an answer to a test: it may be busy with other tests."""

NOT_NOW = frozenset(
    {
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.INVALID_REPLICATION_FACTOR,  # there is no node to lay a topic on
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_CONTROLLER,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError._TIMED_OUT,
    }
)
"""What Kafka answers as long as a node that the machine has let stand still is not let in again."""


@dataclass(frozen=True)
class Seen:
    """A record in Kafka."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    at: float
    """Seconds since 1970, as Kafka has it."""

    @property
    def id(self) -> str:
        return (self.header("ce_id") or b"").decode()

    @property
    def payload(self) -> Any:
        return msgspec.json.decode(self.value or b"")

    def header(self, name: str) -> bytes | None:
        return dict(self.headers).get(name)


class Broker:
    """One Kafka, with a prefix in front of all names. Topics are named without it."""

    def __init__(self, bootstrap_servers: str, prefix: str, options: Mapping[str, Any] = MappingProxyType({})) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.prefix = prefix
        self._options: dict[str, Any] = {"bootstrap.servers": bootstrap_servers, "log.connection.close": False}
        self._options.update(options)
        self.admin = AdminClient(self._options)

    def create(self, topic: str, partitions: int = 2, **config: str) -> None:
        """Create a topic, with as many copies as Kafka makes of its own accord; config names have ``_`` for ``.``."""
        options = {name.replace("_", "."): value for name, value in config.items()}
        new = NewTopic(self.prefix + topic, num_partitions=partitions, replication_factor=-1, config=options)
        _until_done(lambda: self.admin.create_topics([new]), KafkaError.TOPIC_ALREADY_EXISTS)
        wait_for(lambda: self.exists(topic))

    def add_partitions(self, topic: str, total: int) -> None:
        """Let the topic have so many partitions."""
        wanted = NewPartitions(self.prefix + topic, total)
        _until_done(lambda: self.admin.create_partitions([wanted]), KafkaError.INVALID_PARTITIONS)
        wait_for(lambda: len(self._metadata().topics[self.prefix + topic].partitions) == total)

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Have Kafka forget the partition's records before this offset."""
        place = TopicPartition(self.prefix + topic, partition, before)
        _until_done(lambda: self.admin.delete_records([place]))

    def set_session(self, group: str, seconds: int) -> None:
        """How long the broker waits for a process of this group; it counts with ``group.protocol=consumer``."""
        entry = ConfigEntry(
            "consumer.session.timeout.ms", str(seconds * 1000), incremental_operation=AlterConfigOpType.SET
        )
        resource = ConfigResource(ResourceType.GROUP, self.prefix + group, incremental_configs=[entry])
        for answer in self.admin.incremental_alter_configs([resource]).values():
            answer.result()

    def delete(self, topic: str) -> None:
        _until_done(lambda: self.admin.delete_topics([self.prefix + topic]), KafkaError.UNKNOWN_TOPIC_OR_PART)
        wait_for(lambda: not self.exists(topic))

    def restrict(self, topic: str, *allowed: AclOperation) -> None:
        """Let everybody do these things with the topic, and nothing else."""
        who = ("User:*", "*")
        bindings = [
            AclBinding(*self._named(topic), *who, operation, AclPermissionType.ALLOW) for operation in allowed
        ] or [AclBinding(*self._named(topic), *who, AclOperation.ALL, AclPermissionType.DENY)]
        for answer in self.admin.create_acls(bindings).values():
            answer.result()
        wait_for(lambda: self.admin.describe_acls(self._acls(topic)).result())

    def unrestrict(self, topic: str) -> None:
        """Let everybody do everything with it again."""
        for answer in self.admin.delete_acls([self._acls(topic)]).values():
            answer.result()
        wait_for(lambda: not self.admin.describe_acls(self._acls(topic)).result())

    def grant(self, principal: str, kind: ResourceType, operations: Sequence[AclOperation]) -> None:
        """Let this user do these things with all topics, or all groups, that have the prefix."""
        named = (kind, self.prefix, ResourcePatternType.PREFIXED, principal, "*")
        bindings = [AclBinding(*named, operation, AclPermissionType.ALLOW) for operation in operations]
        for answer in self.admin.create_acls(bindings).values():
            answer.result()
        wanted = AclBindingFilter(*named, AclOperation.ANY, AclPermissionType.ANY)
        wait_for(lambda: len(self.admin.describe_acls(wanted).result()) == len(operations))

    def _acls(self, topic: str) -> AclBindingFilter:
        return AclBindingFilter(*self._named(topic), None, None, AclOperation.ANY, AclPermissionType.ANY)

    def _named(self, topic: str) -> tuple[ResourceType, str, ResourcePatternType]:
        return ResourceType.TOPIC, self.prefix + topic, ResourcePatternType.LITERAL

    def exists(self, topic: str) -> bool:
        return self.prefix + topic in self._metadata().topics

    def partitions(self, topic: str) -> list[PartitionMetadata]:
        """The topic's partitions by their numbers; none as long as the node that is asked does not know the topic."""
        found = self._metadata().topics.get(self.prefix + topic)
        return [found.partitions[number] for number in sorted(found.partitions)] if found else []

    def _metadata(self) -> ClusterMetadata:
        """What a node answers. A question to a node that has just died is lost, and another node is asked."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self.admin.list_topics(timeout=PATIENCE / 6)
            except KafkaException:
                if time.monotonic() > deadline:
                    raise

    def put(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        partition: int = -1,
    ) -> None:
        """Write a record as a stranger would."""
        producer = Producer(self._options)
        producer.produce(self.prefix + topic, value, key, headers=list(headers), partition=partition)
        assert producer.flush(PATIENCE) == 0

    def put_many(self, topic: str, values: Sequence[bytes], key: bytes | None, partition: int) -> None:
        """Write records of one key to one partition."""
        producer = Producer(self._options)
        for value in values:
            producer.produce(self.prefix + topic, value, key, partition=partition)
        assert producer.flush(PATIENCE) == 0

    def put_in_transaction(self, topic: str, value: bytes, partition: int, *, commit: bool) -> None:
        """Write a record in a transaction of Kafka's, whose end takes an offset, too."""
        producer = Producer(self._options | {"transactional.id": f"{self.prefix}{topic}"})
        producer.init_transactions(PATIENCE)
        producer.begin_transaction()
        producer.produce(self.prefix + topic, value, partition=partition)
        (producer.commit_transaction if commit else producer.abort_transaction)(PATIENCE)

    def read(self, topic: str) -> list[Seen]:
        """All records of the topic, partition by partition, up to its present end."""
        consumer = Consumer(self._options | {"group.id": "tests", "enable.auto.commit": False, "fetch.wait.max.ms": 20})
        try:
            found = consumer.list_topics(self.prefix + topic, timeout=PATIENCE).topics[self.prefix + topic]
            partitions = [TopicPartition(self.prefix + topic, number, 0) for number in found.partitions]
            return sorted(self._read(consumer, partitions), key=lambda seen: (seen.partition, seen.offset))
        finally:
            consumer.close()

    def _read(self, consumer: Consumer, partitions: list[TopicPartition]) -> Iterator[Seen]:
        """The records in these partitions, in no order."""
        ends = {each.partition: _end(consumer, each) for each in partitions}
        consumer.assign(partitions)
        while any(each.offset < ends[each.partition] for each in consumer.position(partitions) if ends[each.partition]):
            polled = consumer.poll(PATIENCE)
            assert polled is not None and polled.error() is None, polled and polled.error()
            if polled.offset() < ends[polled.partition()]:
                yield _seen(polled)

    def committed(self, group: str, topic: str, partition: int) -> int | None:
        """The group's committed offset, None if there is none."""
        consumer = Consumer(self._options | {"group.id": self.prefix + group})
        try:
            (found,) = consumer.committed([TopicPartition(self.prefix + topic, partition)], timeout=PATIENCE)
            return found.offset if found.offset >= 0 else None
        finally:
            consumer.close()

    def commit(self, group: str, topic: str, partition: int, offset: int) -> None:
        """Let the group, of which no process runs, have this offset."""
        consumer = Consumer(self._options | {"group.id": self.prefix + group})
        try:
            wanted = [TopicPartition(self.prefix + topic, partition, offset)]
            (found,) = consumer.commit(offsets=wanted, asynchronous=False)
            assert found.error is None, found.error
        finally:
            consumer.close()

    def end(self, topic: str, partition: int) -> int:
        """The offset after the partition's last record."""
        consumer = Consumer(self._options | {"group.id": "tests"})
        try:
            return _end(consumer, TopicPartition(self.prefix + topic, partition))
        finally:
            consumer.close()


def _until_done(ask: Callable[[], Mapping[Any, Any]], done_before: int | None = None) -> None:
    """Ask until Kafka does it. ``done_before`` is the error that says, after a try whose answer was another, that this
    try has done it."""
    deadline = time.monotonic() + PATIENCE
    is_repeated = False
    while True:
        try:
            for answer in ask().values():
                answer.result()
            return
        except KafkaException as error:
            code = error.args[0].code()
            if is_repeated and code == done_before:
                return
            if code not in NOT_NOW or time.monotonic() > deadline:
                raise
        is_repeated = True
        time.sleep(0.1)


def _end(consumer: Consumer, partition: TopicPartition) -> int:
    """The offset after the partition's last record. Of a new topic a node knows the name a moment before it knows
    that."""

    def ask() -> list[int]:
        with suppress(KafkaException):
            return list(consumer.get_watermark_offsets(partition, timeout=PATIENCE) or ())
        return []

    return wait_for(ask)[1]


def _seen(polled: Message) -> Seen:
    return Seen(
        partition=polled.partition(),
        offset=polled.offset(),
        key=polled.key(),
        value=polled.value(),
        headers=polled.headers() or [],
        at=polled.timestamp()[1] / 1000,
    )
