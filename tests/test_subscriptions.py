"""Subscriptions at run time: by key, by a function, to all; in threads and in event loops; bounded."""

import asyncio
import http.client
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from django_events import (
    DeclarationError,
    Event,
    Subscription,
    SubscriptionOverflow,
    WhenFull,
    receiving,
)
from django_events.exceptions import BrokerUnavailable, CalledInAsync
from django_events.following import callbacks, reader
from django_events.following import hub as hub_module
from django_events.following.gap import Gap
from django_events.following.hub import Hub, hub
from django_events.following.looks import Looks
from django_events.kafka import topics
from django_events.kafka.record import Partition, ReceivedRecord
from django_events.testing import sending
from testproject.shop.views import _events_of_order
from tests.broker import Broker
from tests.browser import browser
from tests.ledger.events import EntryMade, entry_closed, entry_made
from tests.processes import Site
from tests.services.kafka import KafkaServer
from tests.services.server import free_ports
from tests.waiting import wait_for

TOPIC = "ledger.entry-made"


def record(number: int = 1, key: bytes | None = b"ann", body: bytes | None = None) -> ReceivedRecord:
    text = b'{"account":"a","number":%d}' % number if body is None else body
    return ReceivedRecord(Partition(TOPIC, 0), number, key, text, [], None)


def account(event: Event[EntryMade]) -> str:
    return event.payload.account


# ── without Kafka: under a test runner no reader starts ──────────────────────────────────────────────────────────────


@pytest.fixture(autouse=True)
def nobody_stays() -> Iterator[None]:
    yield
    assert hub.count() == 0


def waiting(events: Subscription[EntryMade]) -> list[int]:
    """The numbers of the events that wait."""
    found = []
    while event := events.get(timeout=0):
        found.append(event.payload.number)
    return found


def test_each_subscriber_gets_what_it_wants() -> None:
    with (
        entry_made.subscribe() as all_,
        entry_made.subscribe(key="ann") as ann,
        entry_made.subscribe(key="a", by=account) as a,
        entry_made.subscribe(key="b", by=account) as b,
        entry_closed.subscribe() as others,
    ):
        hub.add(record(1))
        hub.add(record(2, key=b"bob"))
        hub.add(record(3, key=None))
        found = [waiting(each) for each in (all_, ann, a, b, others)]
    assert found == [[1, 2, 3], [1], [1, 2, 3], [], []]


def test_who_has_left_gets_nothing() -> None:
    with entry_made.subscribe(key="ann") as events:
        hub.add(record(1))
        assert hub.count() == 1
    hub.add(record(2))
    assert waiting(events) == []
    events.close()
    with events:
        hub.add(record(3))
        assert waiting(events) == [3]


@pytest.mark.parametrize(("when_full", "kept"), [(WhenFull.DROP_OLDEST, [3, 4]), (WhenFull.DROP_NEWEST, [1, 2])])
def test_a_queue_that_is_full_drops(when_full: WhenFull, kept: list[int]) -> None:
    with entry_made.subscribe(limit=2, when_full=when_full) as events:
        assert not events.missed
        for number in range(1, 5):
            hub.add(record(number))
        assert (events.dropped, events.missed, waiting(events)) == (2, True, kept)


def test_a_queue_that_is_full_may_be_a_failure() -> None:
    with entry_made.subscribe(limit=2, when_full=WhenFull.FAIL) as events:
        for number in range(1, 5):
            hub.add(record(number))
        assert [each.payload.number for each in (events.get(), events.get()) if each] == [1, 2]
        with pytest.raises(SubscriptionOverflow, match="had 2 events waiting, and another came"):
            events.get()


def test_what_cannot_be_read_or_has_no_key_harms_nobody(caplog: Any) -> None:
    def fail(event: Event[EntryMade]) -> str:
        raise SystemError("no key")

    with entry_made.subscribe() as events, entry_made.subscribe(by=fail, key="x"):
        hub.add(record(body=b"{"))
        hub.add(record(2))
        assert waiting(events) == [2]
    assert "cannot be read" in caplog.text
    assert "no key" in caplog.text


def test_a_gap_is_told_to_those_whom_it_concerns() -> None:
    with entry_made.subscribe(key="ann") as events, entry_closed.subscribe() as others:
        hub.missed(Gap(topic=TOPIC, partition=0, start=1, end=2))
        assert (events.missed, others.missed) == (True, False)


def test_callbacks_are_called_in_order_and_may_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "STAY", 0.0)
    seen: list[int] = []

    def note(event: Event[EntryMade]) -> None:
        seen.append(event.payload.number)
        if event.payload.number == 1:
            raise SystemExit

    with entry_made.subscribe(callback=note, key="ann"):
        for number in range(1, 4):
            hub.add(record(number))
        wait_for(lambda: seen == [1, 2, 3])
    wait_for(lambda: not [each for each in threading.enumerate() if each.name == "django-events-callbacks"])


def test_an_iteration_ends_when_another_thread_closes_it() -> None:
    seen: list[int] = []
    events = entry_made.subscribe().open()
    thread = threading.Thread(target=lambda: seen.extend(event.payload.number for event in events))
    thread.start()
    hub.add(record(1))
    wait_for(lambda: seen == [1])
    events.close()
    thread.join(60)
    assert not thread.is_alive()


def test_an_event_loop_iterates_and_does_not_block() -> None:
    async def read() -> list[int]:
        found: list[int] = []
        async with entry_made.subscribe(key="ann") as events:
            assert await events.aget(timeout=0.01) is None
            for number in range(3):
                asyncio.get_running_loop().call_later(0.01, hub.add, record(number))
            async for event in events:
                found.append(event.payload.number)
                if len(found) == 3:
                    return found
        return found

    assert asyncio.run(read()) == [0, 1, 2]


def test_an_iteration_of_an_event_loop_ends_when_another_thread_closes_it() -> None:
    async def read(events: Subscription[EntryMade]) -> int:
        threading.Timer(0.05, events.close).start()
        return len([event async for event in events])

    assert asyncio.run(read(entry_made.subscribe().open())) == 0


def test_an_event_loop_that_was_closed_with_a_reader_in_it_harms_nobody() -> None:
    """Neither the reader of the process nor other subscribers, who want the same event."""
    loop = asyncio.new_event_loop()
    with entry_made.subscribe() as abandoned, entry_made.subscribe() as events:
        task = loop.create_task(abandoned.aget())
        loop.run_until_complete(asyncio.sleep(0))
        assert abandoned._loops
        loop.close()
        hub.add(record(1))
        assert waiting(events) == [1]
    assert not task.done()
    task.get_coro().close()


def test_what_one_subscription_raises_another_does_not_feel(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    with entry_made.subscribe() as broken, entry_made.subscribe() as events:
        monkeypatch.setattr(broken, "add", lambda event: 1 / 0)
        hub.add(record(1))
        assert waiting(events) == [1]
    assert "did not get an event" in caplog.text


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_function_that_wants_to_end_the_process_ends_no_reader(error: type[BaseException]) -> None:
    def fail(event: Event[EntryMade]) -> str:
        raise error

    with entry_made.subscribe() as events, entry_made.subscribe(by=fail, key="x"):
        hub.add(record(1))
        assert waiting(events) == [1]


def test_entering_blocks_so_an_event_loop_is_told_how_to() -> None:
    async def enter() -> None:
        with entry_made.subscribe():
            pass

    with pytest.raises(CalledInAsync, match="or use `async with`"):
        asyncio.run(enter())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"by": 5, "key": "a"}, "by is 5"),
        ({"by": account}, "has by= without a key="),
        ({"key": 5}, "key is 5. Use a text"),
        ({"key": [], "by": account}, r"key is \[\]"),
        ({"limit": 0}, "limit is 0"),
        ({"when_full": "drop"}, "when_full is 'drop'"),
        ({"callback": 1}, "callback is 1"),
        ({"callback": print, "when_full": WhenFull.FAIL}, "nobody who could hear"),
        ({"timeout": 0}, "timeout is 0"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=f"A subscription to topic '{TOPIC}'.*{said}"):
        entry_made.subscribe(**options)


def test_while_a_look_is_made_nothing_is_taken_for_followed() -> None:
    """The look may be about to drop a topic that somebody enters just now."""
    looks = Looks()
    looks.made(looks.begun(), [TOPIC])
    assert looks.have_seen(TOPIC)
    running = looks.begun()
    assert not looks.have_seen(TOPIC)
    wanted = looks.ask()
    looks.made(running, [])
    assert not looks.wait(wanted, 0)
    looks.made(looks.begun(), [TOPIC])
    assert looks.wait(wanted, 0)


def test_an_event_looks_at_those_alone_who_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 subscribers of other keys are not looked at, and the event is not even decoded."""
    own = Hub()
    own.expect(entry_made.reading)
    crowd = [Subscription[EntryMade](own, TOPIC, key=f"key-{number}").open() for number in range(10_000)]
    decoded: list[ReceivedRecord] = []
    given: list[Subscription[Any]] = []
    original, add = receiving.event_in, Subscription.add

    def event_in(record: ReceivedRecord, reading: Any) -> Event[Any]:
        decoded.append(record)
        return original(record, reading)

    def counted(subscription: Subscription[Any], event: Event[Any]) -> bool:
        given.append(subscription)
        return add(subscription, event)

    monkeypatch.setattr(receiving, "event_in", event_in)
    monkeypatch.setattr(Subscription, "add", counted)
    own.add(record(key=b"nobody"))
    assert not decoded
    own.add(record(key=b"key-77"))
    assert given == [crowd[77]]


def test_a_page_whose_browser_goes_is_unsubscribed() -> None:
    async def read() -> None:
        lines = _events_of_order(42)
        assert await anext(lines) == ": subscribed\n\n"
        assert hub.count() == 1
        await lines.aclose()

    asyncio.run(read())
    assert hub.count() == 0


# ── on real Kafka ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def real(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """Kafka, with readers that end as soon as nobody subscribes."""
    monkeypatch.setattr(reader, "LOOK_EVERY", 60.0)
    monkeypatch.setattr(hub_module, "LINGER", 0.0)
    topics.create_missing([TOPIC, "ledger.entry-closed"], timeout=60)
    with sending():
        yield broker
        wait_for(lambda: not readers())


def readers() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("django-events-broadcast-reader")]


def put(broker: Broker, number: int, key: str = "ann", topic: str = TOPIC) -> None:
    broker.put(topic, b'{"account":"a","number":%d}' % number, key=key.encode())


@pytest.mark.kafka
def test_what_is_sent_after_the_begin_is_got_and_nothing_before(real: Broker) -> None:
    put(real, 1)
    with entry_made.subscribe(key="ann", timeout=60) as events:
        put(real, 2)
        event = events.get(timeout=60)
        assert event and (event.payload.number, event.group, event.handler) == (2, None, None)
    wait_for(lambda: not readers())


@pytest.mark.kafka
def test_subscriptions_come_and_go_while_others_stay(real: Broker) -> None:
    """Also to topics that nobody has subscribed to before, or that the last subscriber has just left."""
    with entry_made.subscribe(timeout=60) as steady:
        for number in range(5):
            with entry_closed.subscribe(key="bob", timeout=60) as events:
                put(real, number, "bob", "ledger.entry-closed")
                event = events.get(timeout=60)
                assert event and event.payload.number == number
        assert len(readers()) == 1
        put(real, 9)
        event = steady.get(timeout=60)
        assert event and event.payload.number == 9


@pytest.mark.kafka
def test_without_kafka_it_says_so_and_nobody_is_left(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA": {"bootstrap.servers": "127.0.0.1:1"}}
    monkeypatch.setattr(hub_module, "LINGER", 0.0)
    with sending(), pytest.raises(BrokerUnavailable, match="has not said within 0.2 s where topic"):
        entry_made.subscribe(timeout=0.2).open()
    assert hub.count() == 0
    wait_for(lambda: not readers())


@pytest.mark.kafka
def test_after_an_outage_a_subscription_goes_on_and_has_missed_nothing(
    kafka_server: KafkaServer, fragile: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "LINGER", 0.0)
    topics.create_missing([TOPIC], timeout=30)
    with sending(), entry_made.subscribe(key="ann", timeout=60) as events:
        put(fragile, 1)
        assert [event.payload.number for event in (events.get(timeout=60),) if event] == [1]
        kafka_server.kill()
        assert events.get(timeout=1) is None
        kafka_server.restart()
        for number in (2, 3):
            put(fragile, number)
        got = [events.get(timeout=60) for _ in range(2)]
        assert [event.payload.number for event in got if event] == [2, 3]
        assert not events.missed
    wait_for(lambda: not readers())


@pytest.mark.kafka
@pytest.mark.postgres
def test_server_sent_events_reach_a_client_of_uvicorn(site: Site, broker: Broker) -> None:
    """What docs/server-sent-events.md shows: a page follows its order, and only that."""
    topics.create_missing(["shop.order-placed"], timeout=60)
    (port,) = free_ports(1)
    server = site.start_module("uvicorn", "testproject.asgi:application", f"--port={port}")
    server.says("Uvicorn running")
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    client.request("GET", "/orders/42/events")
    answer = client.getresponse()
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.readline() == b": subscribed\n"
    assert answer.readline() == b"\n"
    for number in (41, 42):
        body = b'{"order_id":%d,"customer":"ann","total":"9.90"}' % number
        broker.put("shop.order-placed", body, key=str(number).encode(), headers=[("ce_id", b"event-%d" % number)])
    lines = [answer.readline()]
    while lines[-1] and not lines[-1].startswith(b"data: "):
        lines.append(answer.readline())
    assert [line for line in lines if line not in (b": still here\n", b"\n")] == [
        b"id: event-42\n",
        b"event: shop.order-placed\n",
        b'data: {"order_id":42,"customer":"ann","total":"9.90"}\n',
    ]
    client.close()


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.browser
def test_server_sent_events_reach_a_browser(site: Site, broker: Broker, chromium: str) -> None:
    topics.create_missing(["shop.order-placed"], timeout=60)
    (port,) = free_ports(1)
    site.start_module("uvicorn", "testproject.asgi:application", f"--port={port}").says("Uvicorn running")
    sent: list[int] = []

    def another_arrives() -> bool:
        """What is sent before the page has subscribed does not; so send until one does."""
        sent.append(42)
        broker.put("shop.order-placed", b'{"order_id":42,"customer":"ann","total":"9.90"}', key=b"42")
        broker.put("shop.order-placed", b'{"order_id":41,"customer":"bob","total":"9.90"}', key=b"41")
        return bool(page.evaluate("seen.length"))

    with browser(chromium) as started:
        page = started.new_page()
        page.goto(f"http://127.0.0.1:{port}/admin/login/")
        page.evaluate(FOLLOW)
        wait_for(another_arrives)
        found = page.evaluate("seen")
    assert {each["order_id"] for each in found} == {42}
    assert 0 < len(found) <= len(sent)


FOLLOW = """() => {
    window.seen = [];
    const events = new EventSource("/orders/42/events");
    events.addEventListener("shop.order-placed", (event) => seen.push(JSON.parse(event.data)));
}"""
