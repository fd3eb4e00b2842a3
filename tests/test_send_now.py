"""``send_now``: Kafka has the event when it returns; else it says why, in time. No transaction and no table."""

import threading
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest

from django_events import DeliveryFailed, EventTooLarge, InvalidEvent, SendError, Topic
from django_events.kafka import clients, config, topics
from django_events.kafka.producer import Producer
from django_events.producing import immediate as module
from django_events.producing.immediate import immediate
from django_events.signals import event_sent
from django_events.testing import sending, sent_events
from tests.broker import Broker
from tests.processes import Site

pytestmark = pytest.mark.usefixtures("declarations")

NOWHERE = {"KAFKA": {"bootstrap.servers": "127.0.0.1:1"}}


@pytest.fixture(autouse=True)
def own_producer() -> Iterator[None]:
    """Each test has a Kafka of its own, so none may use the producer of another."""
    immediate._discard()
    yield
    immediate._discard()


@pytest.fixture
def really() -> Iterator[None]:
    with sending():
        yield


def numbers(**options: Any) -> Topic[dict[str, Any]]:
    return Topic("numbers", dict[str, Any], **options)


@pytest.mark.kafka
def test_kafka_has_the_event_when_it_returns(broker: Broker, really: None) -> None:
    event = numbers().send_now({"n": 1}, key="a", timeout=60)
    (record,) = broker.read("numbers")
    assert (record.id, record.key, record.payload) == (event.id, b"a", {"n": 1})
    assert record.header("ce_sequence") is None


@pytest.mark.kafka
def test_several_arrive_in_their_order(broker: Broker, really: None) -> None:
    topic = numbers()
    events = [topic.event({"n": n}, key="a", headers={"x": "1"}) for n in range(100)]
    topic.send_many_now(events, timeout=60)
    topic.send_many_now([])
    records = broker.read("numbers")
    assert [record.payload["n"] for record in records] == list(range(100))
    assert records[0].header("x") == b"1"


@pytest.mark.kafka
def test_a_tombstone_goes_now_too(broker: Broker, really: None) -> None:
    Topic("kept", dict[str, Any], compacted=True).send_tombstone_now("a", timeout=60)
    assert [(record.key, record.value) for record in broker.read("kept")] == [(b"a", None)]


@pytest.mark.kafka
def test_receivers_learn_that_kafka_has_it(broker: Broker, really: None) -> None:
    told: list[tuple[Any, ...]] = []

    def note(sender: str, key: bytes, event_id: str, saved_at: None, using: None, **_: Any) -> None:
        told.append((sender, key, event_id, saved_at, using))

    event_sent.connect(note)
    try:
        event = numbers().send_now({"n": 1}, key="a", timeout=60)
    finally:
        event_sent.disconnect(note)
    assert told == [("numbers", b"a", event.id, None, None)]


@pytest.mark.kafka
def test_a_topic_that_may_not_be_created_is_named(broker: Broker, really: None, settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "AUTO_CREATE_TOPICS": False}
    with pytest.raises(DeliveryFailed, match="Kafka does not have the topic 'numbers', and it was not created"):
        numbers().send_now({"n": 1}, timeout=60)
    assert not broker.exists("numbers")
    broker.create("numbers")
    numbers().send_now({"n": 2}, timeout=60)
    assert len(broker.read("numbers")) == 1


@pytest.mark.kafka
def test_what_kafka_refuses_fails_alone(broker: Broker, really: None) -> None:
    broker.create("numbers", max_message_bytes="2000")
    with pytest.raises(DeliveryFailed, match="too large"):
        numbers().send_now({"filler": "x" * 5_000}, timeout=60)
    numbers().send_now({"n": 2}, timeout=60)
    assert [record.payload for record in broker.read("numbers")] == [{"n": 2}]


@pytest.mark.kafka
def test_while_kafka_is_away_it_fails_and_afterwards_it_works(broker: Broker, really: None, settings: Any) -> None:
    there = settings.DJANGO_EVENTS
    settings.DJANGO_EVENTS = {**there, **NOWHERE}
    with pytest.raises(DeliveryFailed, match=r"Kafka at 127\.0\.0\.1:1 does not answer.*Nothing was sent"):
        numbers().send_now({"n": 1}, timeout=0.5)
    settings.DJANGO_EVENTS = there
    numbers().send_now({"n": 2}, timeout=60)
    assert [record.payload for record in broker.read("numbers")] == [{"n": 2}]


@pytest.mark.kafka
def test_a_frozen_kafka_is_waited_for_no_longer_than_was_said(fragile: Broker, kafka_server: Any, really: None) -> None:
    topic = numbers()
    topic.send_now({"n": 1}, key="a", timeout=60)
    again = topic.event({"n": 2}, key="a")
    kafka_server.pause()
    with pytest.raises(
        DeliveryFailed, match="0 of 1 events: no acknowledgement in time.*may have arrived all the same"
    ):
        topic.send_many_now([again], timeout=1)
    kafka_server.resume()
    topic.send_many_now([again], timeout=60)
    assert {record.payload["n"] for record in fragile.read("numbers")} == {1, 2}


class SlowKafka:
    """Every answer takes most of a second, by the clock of the test."""

    brokers: tuple[()] = ()
    topics: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, *_: Any, **__: Any) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def list_topics(self, timeout: float) -> "SlowKafka":
        self.waits.append(timeout)
        self.now += 0.9
        return self

    def poll(self, timeout: float) -> None:
        """Nothing has happened."""

    def purge(self) -> None:
        """Nothing is on its way."""


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch, settings: Any) -> SlowKafka:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, **NOWHERE}
    kafka = SlowKafka()
    monkeypatch.setattr("time.monotonic", lambda: kafka.now)
    monkeypatch.setattr(clients, "make", lambda *_: kafka)
    return kafka


def test_to_connect_to_a_slow_kafka_takes_no_longer_than_was_said(slow: SlowKafka) -> None:
    Producer(config.producer_options()).connect(1.0)
    assert slow.waits == pytest.approx([1.0, 0.1])


def test_to_create_a_topic_in_a_slow_kafka_takes_no_longer_than_was_said(
    slow: SlowKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def create(admin: object, specs: object, broker_count: int, timeout: float) -> set[str]:
        waits.append(timeout)
        return {"numbers"}

    monkeypatch.setattr(topics, "create", create)
    numbers()
    assert topics.create_missing({"numbers"}, 1.0) == {"numbers"}
    assert waits == pytest.approx([0.1])


def test_who_waits_for_another_thread_waits_no_longer_than_was_said(really: None) -> None:
    with immediate._lock, pytest.raises(DeliveryFailed, match=r"Other threads of this process waited for Kafka"):
        numbers().send_now({"n": 1}, timeout=0.1)


@pytest.mark.kafka
def test_threads_share_one_producer(broker: Broker, really: None, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Producer] = []

    def make(options: dict[str, Any]) -> Producer:
        made.append(Producer(options))
        return made[-1]

    monkeypatch.setattr(module, "Producer", make)
    topic = numbers()

    def send(thread: int) -> None:
        for n in range(20):
            topic.send_now({"n": n}, key=str(thread), timeout=60)  # not all get their turn soon

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    records = broker.read("numbers")
    for number in range(8):
        assert [each.payload["n"] for each in records if each.key == str(number).encode()] == list(range(20))
    assert len(made) == 1


@pytest.mark.kafka
@pytest.mark.postgres
def test_children_of_a_process_that_has_sent_send_too(site: Site, broker: Broker) -> None:
    output = site.run("send_now_in_forks", "--children=10")
    assert "Traceback" not in output
    sent = {(record.key, record.payload["number"]) for record in broker.read("ledger.entry-made")}
    assert {(f"child-{child}".encode(), number) for child in range(10) for number in (1, 2)} <= sent


# ── in a site's own tests ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("_again", range(2))
def test_in_a_test_nothing_is_sent_and_what_would_be_can_be_looked_at(_again: int, settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, **NOWHERE}
    topic = numbers()
    event = topic.send_now({"n": 1}, key="a")
    Topic("others", dict).send_now({})
    assert sent_events("numbers") == [event]
    assert len(sent_events()) == 2
    assert immediate._producer is None


def test_each_test_begins_with_nothing_sent() -> None:
    assert sent_events() == []


def test_what_cannot_be_sent_is_refused_in_a_test_too() -> None:
    topic = numbers(max_bytes=2_000)
    for refused in (
        lambda: topic.send_now({"filler": "x" * 2_000}),
        lambda: topic.send_now({"n": 1}, key=1),  # type: ignore[arg-type]
        lambda: topic.send_many_now([topic.event({"n": 1}), "not an event"]),  # type: ignore[list-item]
    ):
        with pytest.raises((EventTooLarge, InvalidEvent)):
            refused()
    for timeout in (0, -1, float("nan"), "5", None, True):
        with pytest.raises(SendError, match="timeout must be a number of seconds above 0"):
            topic.send_now({"n": 1}, timeout=timeout)  # type: ignore[arg-type]
    assert sent_events() == []
