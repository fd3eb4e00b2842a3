"""A group reads on, and its committed offsets never go back, whatever its coordinator answers."""

import threading
from collections.abc import Iterator
from typing import Any, cast

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, TopicPartition

from django_events import ConsumerGroup, Event, OnFailure, Service, Topic
from django_events.consuming.letter_reader import LetterReader
from django_events.consuming.limits import Limits
from django_events.kafka import consumer as kafka_consumer
from django_events.kafka.consumer import Consumer
from django_events.kafka.record import Partition, ReceivedRecord
from tests.refusing_kafka import COORDINATOR_LOAD_IN_PROGRESS, NOT_COORDINATOR, RefusingKafka
from tests.waiting import wait_for

Payload = dict[str, Any]
PLACE = Partition("orders", 0)


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], list[int]]:
    """The offsets whose commit was asked for, and those whose commit was answered, as they come."""
    asked: list[int] = []
    answered: list[int] = []
    commit, on_commit = Consumer.commit, Consumer._on_commit

    def ask(self: Consumer, offsets: Any, *, wait: bool) -> None:
        asked.extend(offsets.values())
        commit(self, offsets, wait=wait)

    def answer(self: Consumer, error: Any, partitions: list[TopicPartition]) -> None:
        on_commit(self, error, partitions)
        answered.extend(each.offset for each in partitions)

    monkeypatch.setattr(Consumer, "commit", ask)
    monkeypatch.setattr(Consumer, "_on_commit", answer)
    return asked, answered


class Sales:
    """A group, and what it has handled."""

    def __init__(self, kafka: RefusingKafka) -> None:
        servers = {"bootstrap.servers": kafka.bootstrap_servers}
        self._producer = confluent_kafka.Producer(servers)
        self._looking = confluent_kafka.Consumer(servers | {"group.id": "sales"})
        self.group = ConsumerGroup("sales")
        self.handled: list[Event[Payload]] = []
        kafka.create(PLACE.topic)

        @self.group.idempotent(Topic(PLACE.topic, Payload), on_failure=OnFailure.DISCARD)
        def bill(event: Event[Payload]) -> None:
            self.handled.append(event)

    def sell(self) -> None:
        self._producer.produce(PLACE.topic, b"{}", b"a", PLACE.number)
        self._producer.flush()

    def committed(self) -> int:
        (found,) = self._looking.committed([TopicPartition(*PLACE)], timeout=60)
        return int(found.offset)

    def close(self) -> None:
        self._looking.close()


@pytest.fixture
def sales(refusing_kafka: RefusingKafka) -> Iterator[Sales]:
    sales = Sales(refusing_kafka)
    yield sales
    sales.close()


def test_a_commit_that_was_refused_for_the_moment_does_not_take_the_offset_back(
    refusing_kafka: RefusingKafka, sales: Sales, commits: tuple[list[int], list[int]]
) -> None:
    asked, answered = commits

    def sell() -> None:
        """One event, until it is handled."""
        before = len(sales.handled)
        sales.sell()
        wait_for(lambda: len(sales.handled) > before)

    service = Service([sales.group], limits=Limits(commit_interval=0.1))
    service.begin()  # it does not ask whether all is assigned, which this Kafka does not know
    try:
        sell()
        wait_for(lambda: sales.committed() == 1)
        refusing_kafka.refuse_commit(COORDINATOR_LOAD_IN_PROGRESS, after=1.0)
        sell()
        wait_for(lambda: 2 in asked)
        sell()
        wait_for(lambda: 2 in answered)
        wait_for(lambda: sales.committed() == 3)
    finally:
        assert service.stop(120)


class Listening:
    """Hears of the assignment."""

    def __init__(self) -> None:
        self.has: list[Partition] = []

    def assigned(self, partitions: list[Partition]) -> None:
        self.has = partitions

    def revoked(self, partitions: list[Partition]) -> None:
        """Nothing is committed."""

    lost = revoked


def test_what_keeps_offsets_from_being_committed_is_told_when_it_begins_when_it_changes_and_when_it_is_over(
    refusing_kafka: RefusingKafka, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = Consumer("sales", [PLACE.topic], Listening())
    away, silent = KafkaError(KafkaError._TRANSPORT), KafkaError(KafkaError._TIMED_OUT)
    try:
        for error in (away, away, silent, None, None):
            consumer._on_commit(error, [TopicPartition(*PLACE, 1)])
    finally:
        consumer.close()
    assert [line for record in caplog.records if "commit" in (line := record.getMessage())] == [
        f"Group sales could not commit offsets: {away.str()}. It tries again",
        f"Group sales could not commit offsets: {silent.str()}. It tries again",
        "Group sales: committing offsets works again",
    ]


def test_the_commit_before_partitions_are_given_up_comes_after_one_that_was_refused_for_the_moment(
    refusing_kafka: RefusingKafka, sales: Sales, commits: tuple[list[int], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_consumer, "MADE_AGAIN", 3.0)  # also on a machine that is busy with other things
    _, answered = commits
    listening = Listening()
    consumer = Consumer("sales", [PLACE.topic], listening)
    try:
        wait_for(lambda: consumer.poll(0.1) or listening.has)
        refusing_kafka.refuse_commit(COORDINATOR_LOAD_IN_PROGRESS, after=0.5)
        consumer.commit({PLACE: 2}, wait=False)
        consumer.commit({PLACE: 3}, wait=True)
        wait_for(lambda: consumer.poll(0.1) or 2 in answered)
        assert sales.committed() == 3
    finally:
        consumer.close()


def test_the_commit_before_partitions_are_given_up_is_made_again_while_a_coordinator_takes_over(
    refusing_kafka: RefusingKafka, sales: Sales, monkeypatch: pytest.MonkeyPatch
) -> None:
    """librdkafka tries three times, for half a second."""
    monkeypatch.setattr(kafka_consumer, "TAKING_OVER", 60.0)
    listening = Listening()
    consumer = Consumer("sales", [PLACE.topic], listening)
    try:
        wait_for(lambda: consumer.poll(0.1) or listening.has)
        for _ in range(4):
            refusing_kafka.refuse_commit(COORDINATOR_LOAD_IN_PROGRESS)
        consumer.commit({PLACE: 3}, wait=True)
        assert sales.committed() == 3
    finally:
        consumer.close()


def test_a_group_reads_although_a_coordinator_that_has_moved_refuses_to_tell_its_offsets(
    refusing_kafka: RefusingKafka, sales: Sales
) -> None:
    """librdkafka asks once, and then never reads what it has been assigned."""
    refusing_kafka.refuse_offsets(NOT_COORDINATOR)
    sales.sell()
    service = Service([sales.group])
    service.begin()
    try:
        wait_for(lambda: sales.handled)
    finally:
        assert service.stop(120)


def test_a_function_of_the_site_that_librdkafka_calls_may_raise(
    refusing_kafka: RefusingKafka, sales: Sales, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It is called inside of poll, from where what it raises would end the group."""
    calls: list[str] = []

    def tell_figures(statistics: str) -> None:
        calls.append(statistics)
        raise ValueError("no room for figures")

    figures = {"statistics.interval.ms": 10, "stats_cb": tell_figures}
    kafka = settings.DJANGO_EVENTS["KAFKA"] | figures
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA": kafka}
    service = Service([sales.group])
    service.begin()
    try:
        wait_for(lambda: len(calls) > 5)
        sales.sell()
        wait_for(lambda: sales.handled)
    finally:
        assert service.stop(120)
    assert "The function 'stats_cb' in the Kafka options of settings.DJANGO_EVENTS raised" in caplog.text
    assert "no room for figures" in caplog.text


class Committing:
    """A consumer whose last commit is unanswered."""

    is_committing = True

    def __init__(self) -> None:
        self.asked: list[bool] = []

    def take_uncommitted(self) -> set[Partition]:
        return set()

    def commit(self, offsets: Any, *, wait: bool) -> None:
        self.asked.append(wait)


def test_letters_are_not_committed_before_an_earlier_commit_is_answered_unless_they_are_given_up(
    declarations: None,
) -> None:
    reader, consumer = LetterReader(ConsumerGroup("sales"), threading.Event()), Committing()
    reader._consumer, reader._next = cast(Any, consumer), {PLACE: 7}
    reader._commit(wait=False)
    reader._commit(wait=True)
    assert consumer.asked == [True]


class GivingUp:
    """A consumer that has a letter, and then hears that its partition is another's."""

    is_committing = False

    def __init__(self, reader: LetterReader, letter: ReceivedRecord) -> None:
        self._reader = reader
        self._letters = [letter]

    def take_uncommitted(self) -> set[Partition]:
        return set()

    def poll(self, timeout: float) -> ReceivedRecord | None:
        if self._letters:
            return self._letters.pop()
        self._reader.revoked([PLACE])
        return None


def test_a_letter_that_came_just_before_its_partition_was_given_up_is_left_to_who_has_it_now(
    declarations: None,
) -> None:
    """To commit it would take the other's offset back, now or when this reader stops."""
    reader = LetterReader(ConsumerGroup("sales"), threading.Event())
    letter = ReceivedRecord(PLACE, 7, None, None, [], None)
    reader._consumer = cast(Any, GivingUp(reader, letter))
    assert reader._poll() == []
