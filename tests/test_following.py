"""A reader of broadcast events knows where to read before it says that it has begun."""

from collections.abc import Iterator
from typing import Any

import pytest

from django_events.exceptions import BrokerUnavailable
from django_events.following.reader import Reader
from django_events.kafka.following import Follower
from django_events.kafka.record import Partition
from tests.refusing_kafka import RefusingKafka

PLACE = Partition("prices", 0)


@pytest.fixture
def kafka(settings: Any) -> Iterator[RefusingKafka]:
    with RefusingKafka() as kafka:
        servers = {"bootstrap.servers": kafka.bootstrap_servers}
        settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA": servers, "PREFIX": ""}
        kafka.create(PLACE.topic)
        yield kafka


@pytest.fixture
def follower(kafka: RefusingKafka) -> Iterator[Follower]:
    follower = Follower("The reader")
    yield follower
    follower.close()


def test_why_a_reader_waits_is_told_when_it_begins_and_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    reader = Reader([], print, print)
    for reason in ("Kafka is away", "Kafka is away", "Kafka is slow"):
        reader._wait_after(BrokerUnavailable(reason), block=False)
    assert [record.getMessage() for record in caplog.records] == [
        "The reader of broadcast events waits: Kafka is away. It goes on where it was",
        "The reader of broadcast events waits: Kafka is slow. It goes on where it was",
    ]


def test_new_partitions_are_read_once_their_leaders_are_known(
    kafka: RefusingKafka, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_events.kafka.following.LEADERS", 60.0)  # time for three on any machine
    kafka.set_leader(*PLACE, leads=False)
    asked: list[str] = []
    led = follower._led

    def ask(topic: str, timeout: float) -> Iterator[Partition]:
        asked.append(topic)
        if len(asked) == 3:
            kafka.set_leader(*PLACE, leads=True)
        return led(topic, timeout)

    monkeypatch.setattr(follower, "_led", ask)
    follower.assign({PLACE: 0})
    assert asked == [PLACE.topic] * 3
    follower.assign({PLACE: 0})
    assert len(asked) == 3, "nothing is new"


def test_a_partition_that_stays_without_a_leader_does_not_hold_up_the_others(
    kafka: RefusingKafka, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_events.kafka.following.LEADERS", 0.2)
    kafka.set_leader(*PLACE, leads=False)
    follower.assign({PLACE: 0})
    assert [each.partition for each in follower._client.assignment()] == [0]
