"""P13: every process sees every event from its start on, in the order of its key, and no group is left behind."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from django_events import Backoff, Batch, BatchItemError, DoNotRetry, Event, Gap, broadcast, broadcasting
from django_events.consuming import broadcast_handler, slowness
from django_events.consuming.broadcast import Broadcast
from django_events.consuming.broadcast_handler import BroadcastThread
from django_events.following import discovery, reader
from django_events.following.reader import Reader
from django_events.kafka import topics
from django_events.kafka.following import Follower
from django_events.kafka.record import Partition, ReceivedRecord
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_closed, entry_made
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("declarations", "quick")]

TOPIC = "ledger.entry-made"

Entries = list[tuple[str | None, int]]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """What is looked for each ten seconds is looked for at once, and silence is short."""
    monkeypatch.setattr(reader, "LOOK_EVERY", 0.2)
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "BROADCAST_HEARTBEAT": 0.5}


@pytest.fixture(autouse=True)
def created(broker: Broker) -> None:
    topics.create_missing([TOPIC], timeout=60)


@contextmanager
def running(*names: str) -> Iterator[Broadcast]:
    """The handlers of these names run, or all; entered when they have said so."""
    found = [each for each in broadcasting.declared() if each.name in names or not names]
    broadcast = Broadcast(found)
    broadcast.start()
    try:
        assert broadcast.wait_until_ready(60)
        yield broadcast
    finally:
        assert broadcast.stop(120)


def put(broker: Broker, number: int, key: str = "ann", partition: int = 0, topic: str = TOPIC) -> None:
    broker.put(topic, b'{"account":"a","number":%d}' % number, key=key.encode(), partition=partition)


def put_many(broker: Broker, numbers: range, key: str = "ann", partition: int = 0) -> None:
    broker.put_many(TOPIC, [b'{"account":"a","number":%d}' % each for each in numbers], key.encode(), partition)


def noting(*topics: Any, **options: Any) -> Entries:
    """Declare a broadcast handler; the list of what it has been called with."""
    seen: Entries = []

    @broadcast(*topics or (entry_made,), **{"name": "note", **options})
    def note(event: Event[EntryMade]) -> None:
        seen.append((event.key, event.payload.number))

    return seen


def numbers(seen: Entries) -> list[int]:
    return [number for _, number in seen]


def test_what_is_sent_after_the_start_is_seen_and_nothing_before(broker: Broker, protocol: str) -> None:
    put(broker, 1)
    seen = noting()
    with running():
        put(broker, 2)
        wait_for(lambda: seen)
    assert numbers(seen) == [2]


def test_every_reader_sees_every_event_in_the_order_of_its_key(broker: Broker) -> None:
    first, second = noting(name="first"), noting(name="second")
    with running("first"), running("second"):
        for key, partition in (("ann", 0), ("bob", 1)):
            put_many(broker, range(300), key, partition)
        wait_for(lambda: len(first) == len(second) == 600)
    for seen in (first, second):
        by_key: dict[str | None, list[int]] = defaultdict(list)
        for name, number in seen:
            by_key[name].append(number)
        assert by_key == {"ann": [*range(300)], "bob": [*range(300)]}


def test_an_event_says_that_it_has_no_group(broker: Broker) -> None:
    seen: list[Event[EntryMade]] = []

    @broadcast(entry_made)
    def keep(event: Event[EntryMade]) -> None:
        seen.append(event)

    with running():
        put(broker, 1)
        wait_for(lambda: seen)
    assert (seen[0].group, seen[0].handler, seen[0].attempt) == (None, "keep", 1)


def test_no_group_appears_in_kafka(broker: Broker) -> None:
    seen = noting()
    for number in range(3):
        with running():
            put(broker, number)
            wait_for(lambda: len(seen) == number + 1)  # noqa: B023
    listed = broker.admin.list_consumer_groups().result()
    assert not listed.errors
    assert not [each.group_id for each in listed.valid if each.group_id.startswith(broker.prefix)]


def test_several_topics_and_lists_of_events(broker: Broker) -> None:
    topics.create_missing(["ledger.entry-closed"], timeout=60)
    calls: list[list[int]] = []
    may_go_on = threading.Event()

    @broadcast(entry_made, entry_closed, batch=Batch(size=100, parallel=1))
    def note(events: list[Event[EntryMade]]) -> None:
        calls.append([event.payload.number for event in events])
        may_go_on.wait(60)
        for event in events:
            if event.payload.number == 7:
                raise BatchItemError(event, DoNotRetry("seven is not wanted"))

    with running() as broadcast_:
        put(broker, 1000, topic="ledger.entry-closed")
        wait_for(lambda: calls)
        put_many(broker, range(10))
        wait_for(lambda: broadcast_._handlers["note"]._given == 11)  # so they are in one list
        may_go_on.set()
        wait_for(lambda: broadcast_.dropped["note"] == 1)
        wait_for(lambda: {9, 1000} <= {each for call in calls for each in call})
        assert max(map(len, calls)) > 1


# ── what changes in Kafka ────────────────────────────────────────────────────────────────────────────────────────────


def test_new_partitions_are_read_from_their_first_event(broker: Broker) -> None:
    seen = noting()
    with running():
        broker.add_partitions(TOPIC, 4)
        put(broker, 1, partition=3)
        wait_for(lambda: numbers(seen) == [1])


def test_a_topic_that_does_not_exist_yet_is_read_from_its_first_event(broker: Broker, settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "AUTO_CREATE_TOPICS": False}
    seen = noting(entry_closed)
    with running():
        broker.create("ledger.entry-closed")
        put(broker, 1, topic="ledger.entry-closed")
        wait_for(lambda: numbers(seen) == [1])


@pytest.mark.parametrize("before", [1, 20])
def test_a_topic_that_is_made_again_is_read_from_its_first_event_and_a_gap_is_told(broker: Broker, before: int) -> None:
    """Whether the new topic has fewer records or more than the old one had."""
    gaps: list[Any] = []
    seen = noting(on_gap=gaps.append)
    with running():
        put_many(broker, range(before))
        wait_for(lambda: len(seen) == before)
        broker.delete(TOPIC)
        topics.create_missing([TOPIC], timeout=60)
        put_many(broker, range(100, 105))
        wait_for(lambda: {*range(100, 105)} <= {*numbers(seen)})
        wait_for(lambda: gaps)
    assert {(gap.topic, gap.partition, gap.end) for gap in gaps} <= {(TOPIC, 0, None), (TOPIC, 1, None)}


def test_what_kafka_has_no_longer_is_a_gap_that_is_told_in_its_place(broker: Broker) -> None:
    """What came before it is handled, then the handler hears of it, then it gets what comes after."""
    story: list[object] = []
    may_go_on = threading.Event()

    @broadcast(entry_made, on_gap=lambda gap: story.append(gap))
    def note(event: Event[EntryMade]) -> None:
        if event.payload.number == 99:
            may_go_on.wait(60)
        story.append(event.payload.number)

    with running() as broadcast_:
        put_many(broker, range(5))
        wait_for(lambda: len(story) == 5)
        (before,) = broadcast_._readers
    put_many(broker, range(5, 10))
    broker.delete_records(TOPIC, partition=0, before=8)
    thread = BroadcastThread(*broadcasting.declared())
    after = Reader([thread], print, print, before._place)
    thread.start()
    body = b'{"account":"a","number":99}'
    thread.add(ReceivedRecord(Partition(TOPIC, 0), 4, b"bob", body, [], None))
    after.start()
    try:
        wait_for(lambda: thread._given == 4)
        assert len(story) == 5
        may_go_on.set()
        wait_for(lambda: len(story) == 9)
    finally:
        after.stop()
        thread.stop(120)
        after.join(60)
        thread.join(60)
    assert story[5:] == [99, Gap(topic=TOPIC, partition=0, start=5, end=8), 8, 9]


# ── what goes wrong in handlers ──────────────────────────────────────────────────────────────────────────────────────


def test_what_fails_is_tried_again_and_then_dropped(broker: Broker, caplog: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(Backoff, "delay", lambda self, tries: 0.05)
    tries: list[int] = []

    @broadcast(entry_made, timeout=0.3)
    def fail(event: Event[EntryMade]) -> None:
        tries.append(event.payload.number)
        if event.payload.number == 1:
            raise ValueError("one is not liked")

    with running() as broadcast_:
        put(broker, 1)
        put(broker, 2)
        wait_for(lambda: 2 in tries)
        assert broadcast_.dropped == {"fail": 1}
    assert tries.count(1) > 1
    assert tries.count(2) == 1
    assert "it is discarded" in caplog.text


def test_a_handler_that_hangs_holds_up_no_other_and_its_health_says_so(
    broker: Broker, monkeypatch: Any, settings: Any
) -> None:
    monkeypatch.setattr(broadcast_handler, "IN_HAND", 10)
    monkeypatch.setattr(reader, "READ_AT_ONCE", 5)
    monkeypatch.setattr(slowness, "LONG", 0.5)
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "BROADCAST_HEARTBEAT": 1.0}
    seen = noting()
    hung: list[int] = []
    may_go_on = threading.Event()

    @broadcast(entry_made)
    def hang(event: Event[EntryMade]) -> None:
        may_go_on.wait(60)
        hung.append(event.payload.number)

    with running() as broadcast_:
        put_many(broker, range(200))
        wait_for(lambda: numbers(seen) == [*range(200)])
        thread = broadcast_._handlers["hang"]
        assert thread._given - thread._done < 15  # it takes no more memory than that
        wait_for(lambda: not broadcast_.is_live("hang"))
        wait_for(lambda: not broadcast_.is_healthy)
        wait_for(lambda: broadcast_.is_live("note"))
        assert not broadcast_.is_live()
        put(broker, 200)
        wait_for(lambda: numbers(seen) == [*range(201)])
        may_go_on.set()
        wait_for(lambda: hung == [*range(201)])
        wait_for(lambda: broadcast_.is_live("hang"))
        wait_for(lambda: broadcast_.is_healthy)


def test_on_gap_that_fails_is_tried_until_it_works(broker: Broker, monkeypatch: Any) -> None:
    monkeypatch.setattr(broadcast_handler, "GAP_AGAIN", Backoff(first=0.05, max=0.05))
    told: list[object] = []

    def fail_twice(gap: object) -> None:
        told.append(gap)
        if len(told) < 3:
            raise SystemExit

    seen = noting(on_gap=fail_twice)
    with running():
        put(broker, 1)
        wait_for(lambda: seen)
        broker.delete(TOPIC)
        topics.create_missing([TOPIC], timeout=60)
        put(broker, 2)
        wait_for(lambda: 2 in numbers(seen)[1:])
    assert len(told) >= 3


def test_after_a_failure_of_its_own_a_reader_goes_on_where_it_was(
    broker: Broker, monkeypatch: Any, caplog: Any
) -> None:
    seen = noting()
    original: Callable[..., Any] = Reader._give
    given = 0

    def give(self: Reader, record: Any) -> None:
        nonlocal given
        given += 1
        if given == 3:
            raise RuntimeError("a bug")
        original(self, record)

    monkeypatch.setattr(Reader, "_give", give)
    with running():
        put_many(broker, range(10))
        wait_for(lambda: numbers(seen) == [*range(10)])
    assert "a bug" in caplog.text


def test_a_topic_that_a_broker_shows_late_is_read_from_the_begin_on(broker: Broker, monkeypatch: Any) -> None:
    monkeypatch.setattr(reader, "LOOK_EVERY", 3600.0)
    monkeypatch.setattr(discovery, "SHOWN", 60.0)
    look, looks = Follower.look, 0

    def look_late(self: Follower, wanted: Any) -> Any:
        nonlocal looks
        looks += 1
        return look(self, wanted) if looks > 3 else {}

    monkeypatch.setattr(Follower, "look", look_late)
    seen = noting()
    with running():
        put(broker, 1)
        wait_for(lambda: numbers(seen) == [1])


def test_without_handlers_nothing_runs(broker: Broker) -> None:
    before = {*threading.enumerate()}  # threads of an earlier test may be about to end
    with running("nobody") as broadcast_:
        new = {*threading.enumerate()} - before
        assert not [each.name for each in new if each.name.startswith("django-events")]
        assert not broadcast_.is_live()
        assert broadcast_.latency() == float("inf")
