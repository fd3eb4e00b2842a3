"""A group's committed offsets never go back, whatever its coordinator answers."""

import threading
from collections.abc import Iterator
from typing import Any, cast

import confluent_kafka
import pytest
from confluent_kafka import TopicPartition

from django_events import ConsumerGroup, Event, OnFailure, Service, Topic
from django_events.consuming.letter_reader import LetterReader
from django_events.consuming.limits import Limits
from django_events.kafka.consumer import Consumer
from django_events.kafka.record import Partition
from tests.refusing_kafka import COORDINATOR_LOAD_IN_PROGRESS, RefusingKafka
from tests.waiting import wait_for

Payload = dict[str, Any]
PLACE = Partition("orders", 0)


@pytest.fixture
def kafka(settings: Any, declarations: None) -> Iterator[RefusingKafka]:
    with RefusingKafka() as kafka:
        servers = {"bootstrap.servers": kafka.bootstrap_servers}
        settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA": servers, "DATABASES": [], "PREFIX": ""}
        kafka.create(PLACE.topic)
        yield kafka


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


def test_a_commit_that_was_refused_for_the_moment_does_not_take_the_offset_back(
    kafka: RefusingKafka, commits: tuple[list[int], list[int]]
) -> None:
    asked, answered = commits
    sales = ConsumerGroup("sales")
    handled: list[Event[Payload]] = []

    @sales.idempotent(Topic(PLACE.topic, Payload), on_failure=OnFailure.DISCARD)
    def bill(event: Event[Payload]) -> None:
        handled.append(event)

    producer = confluent_kafka.Producer({"bootstrap.servers": kafka.bootstrap_servers})
    looking = confluent_kafka.Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "sales"})

    def sell() -> None:
        """One event, until it is handled."""
        before = len(handled)
        producer.produce("orders", b"{}", b"a", 0)
        producer.flush()
        wait_for(lambda: len(handled) > before)

    def committed() -> int:
        (found,) = looking.committed([TopicPartition(*PLACE)], timeout=10)
        return int(found.offset)

    service = Service([sales], limits=Limits(commit_interval=0.1))
    service.begin()  # it does not ask whether all is assigned, which this Kafka does not know
    try:
        sell()
        wait_for(lambda: committed() == 1)
        kafka.refuse_commit(COORDINATOR_LOAD_IN_PROGRESS, after=1.0)
        sell()
        wait_for(lambda: 2 in asked)
        sell()
        wait_for(lambda: 2 in answered)
        wait_for(lambda: committed() == 3, timeout=20)
    finally:
        assert service.stop(30)
        looking.close()


class Committing:
    """A consumer whose last commit is unanswered."""

    is_committing = True

    def __init__(self) -> None:
        self.asked: list[bool] = []

    def take_uncommitted(self) -> set[Partition]:
        return set()

    def commit(self, offsets: Any, *, wait: bool) -> None:
        self.asked.append(wait)


def test_letters_are_not_committed_before_an_earlier_commit_is_answered_unless_they_are_given_up() -> None:
    reader, consumer = LetterReader(ConsumerGroup("sales"), threading.Event()), Committing()
    reader._consumer, reader._next = cast(Any, consumer), {PLACE: 7}
    reader._commit(wait=False)
    reader._commit(wait=True)
    assert consumer.asked == [True]
