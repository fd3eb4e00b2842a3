"""A reader of broadcast events knows where to read before it says that it has begun."""

import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from django_events.exceptions import BrokerUnavailable, ConsumerFailed, KafkaRefused
from django_events.following.reader import Reader
from django_events.kafka import errors
from django_events.kafka.errors import LastError, answer_of
from django_events.kafka.following import Follower
from django_events.kafka.record import Partition
from tests.refusing_kafka import RefusingKafka
from tests.waiting import wait_for

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


def test_a_client_that_does_not_answer_any_more_is_given_up(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reader makes another one, as after everything that ends one, and keeps this one for ever."""
    monkeypatch.setattr(errors, "BEYOND", 0.0)
    monkeypatch.setattr("django_events.kafka.following.ANSWER", 0.01)
    monkeypatch.setattr(follower._admin, "describe_topics", lambda *_, **__: {PLACE.topic: Future()})
    with pytest.raises(ConsumerFailed, match="hangs"):
        follower.look([PLACE.topic])
    assert follower._hangs


@pytest.mark.parametrize(("code", "raised"), [
    (KafkaError._TIMED_OUT, BrokerUnavailable), (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaRefused),
])  # fmt: skip
def test_what_kafka_answers_keeps_no_client_alive(code: int, raised: type[Exception]) -> None:
    """An error that was raised here would hold the frame that holds the request, and with it the client."""
    asked: Future[Any] = Future()
    error = KafkaException(KafkaError(code))
    asked.set_exception(error)
    with pytest.raises(raised):
        answer_of(asked, "tell", LastError())
    assert error.__traceback__ is None


class Wanting:
    topics = ("prices", "news")
    is_full = False


def test_what_cannot_be_read_is_not_known_whatever_comes_of_others(caplog: pytest.LogCaptureFixture) -> None:
    """Heartbeats of another broker would else keep a process live that misses events."""
    feed: Any = Wanting()
    reader = Reader([feed], print, print)
    reader._freshness.complete(time.monotonic())
    assert reader.latency_of(feed) < 60
    for cut_off, since in (([PLACE], 100.0), ([PLACE], 200.0), (None, 300.0)):
        reader._reach.note(cut_off, time.monotonic() - since)
        assert 100 <= reader.latency_of(feed) < 160
    reader._reach.note([], time.monotonic())
    assert reader.latency_of(feed) < 60
    assert [line.rpartition("events ")[2] for line in caplog.messages] == [
        "does not reach the leader of a partition of prices", "reaches all leaders of prices again",
    ]  # fmt: skip


def test_a_client_says_which_leaders_it_reaches(settings: Any) -> None:
    with RefusingKafka() as kafka:
        settings.DJANGO_EVENTS = {
            **settings.DJANGO_EVENTS,
            "KAFKA": {"bootstrap.servers": kafka.bootstrap_servers},
            "KAFKA_CONSUMER": {"statistics.interval.ms": 50},
            "PREFIX": "",
        }
        kafka.create(PLACE.topic)
        follower = Follower("The reader")

        def cut_off() -> list[Partition] | None:
            follower.poll(0.1)
            return follower.cut_off

        follower.assign({PLACE: 0})
        wait_for(lambda: cut_off() == [])
    wait_for(lambda: cut_off() == [PLACE])
    follower.close()


def test_a_reader_leaves_its_client_alone_while_that_says_nothing(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To ask it may stop the whole process; either it speaks, or it is replaced."""
    reader = Reader([], print, print)
    looks: list[Follower] = []
    monkeypatch.setattr(reader, "_look", looks.append)
    monkeypatch.setattr(Follower, "is_silent", True)
    reader._turn(follower)
    assert not looks
    monkeypatch.setattr(Follower, "is_silent", False)
    reader._turn(follower)
    assert looks == [follower]
