"""Where a group begins: start="earliest", "latest" or a time, and only where it has no offset yet."""

import json
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from django_events import ConsumerGroup, Event, Topic
from django_events.consuming.service import Service
from django_events.exceptions import ConsumerFailed
from django_events.handlers import Start
from django_events.kafka import starting
from tests.broker import Broker
from tests.waiting import wait_for

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.postgres,
    pytest.mark.usefixtures("declarations", "protocol", "transactional_db"),
]

Consuming = Callable[..., AbstractContextManager[Service]]
Payload = dict[str, Any]
AFTER_ALL = datetime(2100, 1, 1, tzinfo=UTC)


class Readers:
    """A group that begins at ``start``, and the texts that it has read, of a topic with two partitions. They have no
    keys: so each is read by a worker of its own, and which of two comes first nobody knows."""

    def __init__(self, broker: Broker, start: Start) -> None:
        self._broker = broker
        self.group = ConsumerGroup("readers", start=start)
        self.read: list[str] = []

        @self.group.idempotent(Topic("orders", Payload))
        def note(event: Event[Payload]) -> None:
            self.read.append(event.payload["text"])

    def put(self, text: str, partition: int = 0) -> None:
        put(self._broker, text, partition)

    def committed(self) -> list[int | None]:
        return [self._broker.committed("readers", "orders", number) for number in (0, 1)]


def put(broker: Broker, text: str, partition: int = 0) -> None:
    broker.put("orders", json.dumps({"text": text}).encode(), partition=partition)


@pytest.fixture
def readers_from(broker: Broker) -> Callable[[Start], Readers]:
    """A group that begins there, in a topic with two events in its first partition."""
    broker.set_session("readers", 60)  # with the new protocol it is Kafka that ends sessions
    broker.create("orders")
    put(broker, "old")
    put(broker, "older than now")
    return lambda start: Readers(broker, start)


ReadersFrom = Callable[[Start], Readers]


def after_what_is_there(broker: Broker) -> datetime:
    """A moment later than all records, and earlier than the next one."""
    moment = datetime.now(UTC)
    assert moment.timestamp() > max(record.at for record in broker.read("orders"))
    wait_for(lambda: datetime.now(UTC) > moment + timedelta(milliseconds=2))
    return moment


def test_earliest_begins_with_what_is_there(readers_from: ReadersFrom, consuming: Consuming) -> None:
    readers = readers_from("earliest")
    with consuming(readers.group):
        wait_for(lambda: sorted(readers.read) == ["old", "older than now"])


def test_latest_begins_with_what_comes_and_stays_there(
    readers_from: ReadersFrom, consuming: Consuming, broker: Broker
) -> None:
    """Where it began is committed: what comes while nobody is there is read afterwards."""
    readers = readers_from("latest")
    with consuming(readers.group):
        assert readers.committed() == [2, 0]
    readers.put("while away")
    readers.put("while away, elsewhere", 1)
    with consuming(readers.group):
        readers.put("new")
        wait_for(lambda: len(readers.read) == 3)
    assert sorted(readers.read) == ["new", "while away", "while away, elsewhere"]


def test_a_time_begins_with_the_first_event_that_is_not_older(
    readers_from: ReadersFrom, consuming: Consuming, broker: Broker
) -> None:
    readers = readers_from(after_what_is_there(broker))
    readers.put("young")
    readers.put("younger")
    with consuming(readers.group):
        wait_for(lambda: sorted(readers.read) == ["young", "younger"])
        assert readers.committed()[1] == 0


def test_a_time_after_all_events_begins_at_the_end(readers_from: ReadersFrom, consuming: Consuming) -> None:
    readers = readers_from(AFTER_ALL)
    with consuming(readers.group):
        assert readers.committed() == [2, 0]
        readers.put("new")
        wait_for(lambda: readers.read == ["new"])


@pytest.mark.parametrize("protocol", ["range"], indirect=True)
def test_latest_where_each_change_takes_all_partitions(readers_from: ReadersFrom, consuming: Consuming) -> None:
    readers = readers_from("latest")
    with consuming(readers.group):
        readers.put("new")
        wait_for(lambda: readers.read == ["new"])


def test_a_time_before_all_events_begins_with_the_first(readers_from: ReadersFrom, consuming: Consuming) -> None:
    readers = readers_from(datetime(1969, 1, 1, tzinfo=UTC))
    with consuming(readers.group):
        wait_for(lambda: sorted(readers.read) == ["old", "older than now"])


@pytest.mark.parametrize("start", ["earliest", "latest", AFTER_ALL])
def test_a_group_that_has_begun_goes_on_where_it_was(
    start: Start, readers_from: ReadersFrom, consuming: Consuming, broker: Broker
) -> None:
    readers = readers_from(start)
    commit(broker, {0: 1})
    with consuming(readers.group):
        wait_for(lambda: readers.read == ["older than now"])


def commit(broker: Broker, offsets: dict[int, int]) -> None:
    """Have the group these offsets, as one that was there once."""
    for partition, offset in offsets.items():
        broker.commit("readers", "orders", partition, offset)


def test_a_new_partition_of_a_topic_that_the_group_has_begun_with_is_read_from_its_first_event(
    readers_from: ReadersFrom, consuming: Consuming, broker: Broker
) -> None:
    readers = readers_from("latest")
    with consuming(readers.group):
        pass
    broker.add_partitions("orders", 3)
    readers.put("in the new one", 2)
    with consuming(readers.group):
        wait_for(lambda: readers.read == ["in the new one"])


def test_a_partition_that_is_added_while_the_group_runs_is_read_from_its_first_event(
    readers_from: ReadersFrom, consuming: Consuming, broker: Broker, settings: Any
) -> None:
    own = settings.DJANGO_EVENTS["KAFKA_CONSUMER"] | {"topic.metadata.refresh.interval.ms": 500}
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA_CONSUMER": own}
    readers = readers_from("latest")
    with consuming(readers.group):
        broker.add_partitions("orders", 3)
        readers.put("in the new one", 2)
        wait_for(lambda: readers.read == ["in the new one"])


def test_two_processes_that_start_at_once_begin_at_one_place(readers_from: ReadersFrom, broker: Broker) -> None:
    """Neither repeats what came before it, nor passes over what came after the other has begun."""
    readers = readers_from("latest")
    services = [Service([readers.group]) for _ in range(2)]
    try:
        for service in services:
            service.begin()
        wait_for(lambda: any(service.is_assigned for service in services))
        wait_for(lambda: readers.committed() == [2, 0])
        for number in range(20):
            readers.put(str(number), number % 2)
        wait_for(lambda: len(set(readers.read)) == 20)
    finally:
        stopped = [service.stop(120) for service in services]
    assert all(stopped)
    assert sorted(readers.read, key=int) == [str(number) for number in range(20)]


class Overtaken:
    """A client in whose group another process commits an offset for all partitions, right after it was asked twice. It
    has no ``list_topics``: in a callback that would end the process."""

    def __init__(self) -> None:
        self.offsets = [-1001, -1001]
        self.commits: list[Any] = []

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        offset = self.offsets.pop() if self.offsets else 7
        return [TopicPartition(each.topic, each.partition, offset) for each in partitions]

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        return (0, 9)

    def commit(self, **arguments: Any) -> None:
        self.commits.append(arguments)


def test_where_another_process_has_begun_meanwhile_is_where_the_group_has_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, assigned = Overtaken(), [TopicPartition("orders", 0)]
    monkeypatch.setattr(starting, "_partitions_of", lambda *_: [*assigned, TopicPartition("orders", 1)])
    begins = starting.first_offsets(client, assigned, "latest") or []
    assert [each.offset for each in begins] == [7]
    assert not client.commits and not client.offsets


class Unhelpful:
    """A client that is refused so many times, and then told that the group has begun at 5."""

    def __init__(self, code: int = KafkaError._TIMED_OUT, times: int = 1_000_000) -> None:
        self._code = code
        self._times = times

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        self._times -= 1
        if self._times >= 0:
            raise KafkaException(KafkaError(self._code))
        return [TopicPartition(each.topic, each.partition, 5) for each in partitions]


@pytest.mark.parametrize(
    ("code", "patience"),
    [
        (KafkaError._TIMED_OUT, "PATIENCE_WITH_NOBODY"),
        (KafkaError.COORDINATOR_NOT_AVAILABLE, "PATIENCE_WITH_NOBODY"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "PATIENCE"),
    ],
)
def test_a_kafka_that_never_says_where_to_begin_ends_the_group(
    monkeypatch: pytest.MonkeyPatch, code: int, patience: str
) -> None:
    """Anywhere else it would lose or repeat events; but an outage lasts longer than a refusal that only passes."""
    assigned = [TopicPartition("orders", 0)]
    monkeypatch.setattr(starting, "PAUSE", 0.0)
    for name in ("PATIENCE", "PATIENCE_WITH_NOBODY"):
        monkeypatch.setattr(starting, name, 0.0 if name != patience else 600.0)
    (found,) = starting.first_offsets(Unhelpful(code, times=3), assigned, "latest") or []
    assert found.offset == 5
    monkeypatch.setattr(starting, patience, 0.0)
    with pytest.raises(ConsumerFailed, match="does not say where the group is to begin: "):
        starting.first_offsets(Unhelpful(code), assigned, "latest")


def test_a_group_that_is_to_stop_does_not_wait_for_kafka_to_say_where_to_begin() -> None:
    answers = iter([False, False, True])
    assigned = [TopicPartition("orders", 0)]
    assert starting.first_offsets(Unhelpful(), assigned, "latest", is_stopping=lambda: next(answers)) is None


@pytest.mark.kafka
def test_what_a_stopping_group_is_assigned_is_neither_begun_nor_committed(
    broker: Broker, consuming: Consuming, declarations: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.create("orders")
    broker.put("orders", b"{}", partition=0)
    group = ConsumerGroup("stopping", start="latest")
    calls: list[str] = []

    @group.idempotent(Topic("orders", dict[str, Any]))
    def note(event: Event[dict[str, Any]]) -> None:
        calls.append(event.id)

    has_asked = threading.Event()

    def ask(*_: Any) -> None:
        has_asked.set()
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    monkeypatch.setattr(starting, "_first_offsets", ask)
    service = Service([group])
    service.begin()
    assert has_asked.wait(60)
    assert service.stop(120)
    assert service.wait(0), "without an error"
    assert not calls
    assert broker.committed("stopping", "orders", 0) is None
