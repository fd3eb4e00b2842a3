"""The heartbeat: only in silence, in the Go library's form; and health that tells the truth after hangs and outages."""

import time
from typing import Any

import pytest

from django_events import DeliveryFailed, Event, broadcast, broadcasting, checks
from django_events.consuming.broadcast import Broadcast
from django_events.exceptions import SettingsError
from django_events.following import heartbeat, reader
from django_events.following.freshness import Freshness
from django_events.kafka import topics
from django_events.kafka.record import Partition, ReceivedRecord
from django_events.producing.immediate import immediate
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_made
from tests.services.kafka import KafkaServer
from tests.waiting import wait_for

TOPIC = "ledger.entry-made"
PLACE = Partition(TOPIC, 0)


@pytest.fixture
def interval(settings: Any, monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(reader, "LOOK_EVERY", 0.2)
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "BROADCAST_HEARTBEAT": 0.5}
    return 0.5


def started() -> Broadcast:
    broadcast_ = Broadcast(broadcasting.declared())
    broadcast_.start()
    assert broadcast_.wait_until_ready(120)
    return broadcast_


def record(offset: int = 0, age: float | None = 0.0) -> ReceivedRecord:
    timestamp = None if age is None else int((time.time() - age) * 1000)
    return ReceivedRecord(PLACE, offset, None, b"", [], timestamp)


# ── what is known ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_read_is_as_old_as_its_sending() -> None:
    freshness = Freshness()
    assert freshness.latency == float("inf")
    freshness.read(record(age=100))
    assert 99 < freshness.latency < 110
    freshness.read(record(age=1000))
    assert 99 < freshness.latency < 110


@pytest.mark.parametrize("age", [-1_000_000.0, None], ids=["in the future", "without a time"])
def test_a_time_that_cannot_be_proves_nothing_and_the_end_of_the_partition_does(age: float | None) -> None:
    freshness = Freshness()
    freshness.read(record(offset=5, age=age))
    freshness.nothing_more()
    freshness.at_end(Partition(TOPIC, 1))
    freshness.nothing_more()
    assert freshness.latency == float("inf")
    freshness.at_end(PLACE)
    assert freshness.latency == float("inf")  # records of other partitions may wait
    freshness.nothing_more()
    assert freshness.latency < 10


def test_an_end_that_more_came_after_proves_nothing() -> None:
    freshness = Freshness()
    freshness.read(record(offset=5, age=None))
    freshness.at_end(PLACE)
    freshness.read(record(offset=6, age=None))
    freshness.nothing_more()
    assert freshness.latency == float("inf")


@pytest.mark.parametrize("seconds", [0, 0.05])
def test_an_interval_that_would_be_a_storm_is_refused(settings: Any, seconds: float) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "BROADCAST_HEARTBEAT": seconds}
    with pytest.raises(SettingsError, match="would be a storm"):
        Broadcast([])
    assert "django_events.E015" in [each.id for each in checks.check_settings(None)]


# ── on real Kafka ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def seen(broker: Broker, declarations: None, interval: float) -> list[int]:
    """The numbers of the events that a handler has seen."""
    topics.create_missing([TOPIC], timeout=60)
    found: list[int] = []

    @broadcast(entry_made)
    def note(event: Event[EntryMade]) -> None:
        found.append(event.payload.number)

    return found


@pytest.mark.kafka
def test_in_silence_heartbeats_keep_a_reader_live(broker: Broker, seen: list[int]) -> None:
    broadcast_ = started()
    try:
        wait_for(lambda: broker.exists(heartbeat.TOPIC) and len(broker.read(heartbeat.TOPIC)) >= 3)
        wait_for(lambda: broadcast_.latency() < 0.5)
        wait_for(broadcast_.is_live)
    finally:
        assert broadcast_.stop(120)
    first = broker.read(heartbeat.TOPIC)[0]
    assert first.value == b"{}"
    assert dict(first.headers)["content-type"] == b"application/json"
    assert dict(first.headers)["ce_type"] == heartbeat.TOPIC.encode()
    assert (first.header("ce_subject"), first.header("ce_specversion")) == (first.key, b"1.0")
    assert len({each.key for each in broker.read(heartbeat.TOPIC)}) > 2


@pytest.mark.parametrize(
    ("latency", "sent_ago", "is_sent"), [(0.0, 100.0, False), (100.0, 0.0, False), (100.0, 100.0, True)]
)
def test_a_heartbeat_is_sent_when_none_was_heard_or_sent(
    monkeypatch: Any, latency: float, sent_ago: float, is_sent: bool
) -> None:
    sent: list[object] = []
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) > 5

    monkeypatch.setattr(heartbeat.Heart, "_send", lambda heart: sent.append(heart))
    heart = heartbeat.Heart(lambda: latency, lambda: None, lambda: None)
    heart._sent = time.monotonic() - sent_ago
    monkeypatch.setattr(heart._stopping, "wait", wait)
    heart.run()
    assert bool(sent) is is_sent
    assert max(waits) <= 10


def test_that_heartbeats_cannot_be_sent_is_told_when_it_begins_when_it_changes_and_when_it_is_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    troubles = ["Kafka is away", "Kafka is away", "Kafka is slow", "", ""]

    def send(*_: object) -> None:
        if trouble := troubles.pop(0):
            raise DeliveryFailed(trouble)

    monkeypatch.setattr(immediate, "send", send)
    heart = heartbeat.Heart(lambda: 0.0, lambda: None, lambda: None)
    while troubles:
        heart._send()
    assert [record.getMessage() for record in caplog.records] == [
        "No heartbeat could be sent: Kafka is away. It is tried again until it works",
        "No heartbeat could be sent: Kafka is slow. It is tried again until it works",
        "Sending heartbeats works again",
    ]


@pytest.mark.kafka
def test_heartbeats_of_strangers_do_no_harm(broker: Broker, seen: list[int]) -> None:
    topics.create_missing([heartbeat.TOPIC], timeout=60)
    broadcast_ = started()
    try:
        for body in (b"\xff\xfe{", None, b"", b"[" * 10_000):
            broker.put(heartbeat.TOPIC, body, key=None, headers=[("ce_time", b"9999-99-99"), ("ce_id", None)])
        broker.put(TOPIC, b'{"account":"a","number":1}')
        wait_for(lambda: seen == [1])
        assert broadcast_.is_healthy
        wait_for(broadcast_.is_live)
    finally:
        assert broadcast_.stop(120)


@pytest.mark.kafka
def test_where_a_thread_has_ended_nothing_is_live_or_well(broker: Broker, seen: list[int], monkeypatch: Any) -> None:
    broadcast_ = started()
    try:
        wait_for(broadcast_.is_live)  # not at once, where the first look has taken longer than a second
        assert broadcast_.is_healthy
        (thread,) = broadcast_._handlers.values()
        thread.stop(30)
        thread.join(60)
        assert not broadcast_.is_live()
        assert not broadcast_.is_healthy
    finally:
        assert broadcast_.stop(120)


# ── outages ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.kafka
@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_after_an_outage_a_reader_goes_on_and_is_live_again(
    kafka_server: KafkaServer, fragile: Broker, declarations: None, interval: float, how: str
) -> None:
    """While Kafka is away it is not live; afterwards nothing is missing, and no gap is told."""
    topics.create_missing([TOPIC], timeout=60)
    seen: list[int] = []
    gaps: list[object] = []

    @broadcast(entry_made, on_gap=gaps.append)
    def note(event: Event[EntryMade]) -> None:
        seen.append(event.payload.number)

    def put(number: int) -> None:
        fragile.put(TOPIC, b'{"account":"a","number":%d}' % number, key=b"ann", partition=0)

    broadcast_ = started()
    try:
        put(1)
        wait_for(lambda: seen == [1])
        (kafka_server.kill if how == "killed" else kafka_server.pause)()
        wait_for(lambda: not broadcast_.is_live())
        assert broadcast_.is_healthy
        (kafka_server.restart if how == "killed" else kafka_server.resume)()
        put(2)
        wait_for(lambda: seen == [1, 2])
        wait_for(broadcast_.is_live)
        assert not gaps
    finally:
        assert broadcast_.stop(120)


@pytest.mark.kafka
def test_a_process_that_starts_while_kafka_is_away_is_not_ready_before_it_is_back(
    kafka_server: KafkaServer, fragile: Broker, declarations: None, interval: float
) -> None:
    topics.create_missing([TOPIC], timeout=60)
    seen: list[int] = []

    @broadcast(entry_made)
    def note(event: Event[EntryMade]) -> None:
        seen.append(event.payload.number)

    kafka_server.kill()
    broadcast_ = Broadcast(broadcasting.declared())
    broadcast_.start()
    try:
        assert not broadcast_.wait_until_ready(0.1)
        assert not broadcast_.is_live()
        kafka_server.restart()
        assert broadcast_.wait_until_ready(120)
        fragile.put(TOPIC, b'{"account":"a","number":1}')
        wait_for(lambda: seen == [1])
    finally:
        assert broadcast_.stop(120)
