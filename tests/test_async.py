"""Sending from async code: the calls that block say which to await, and those leave the event loop alone."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction

from django_events import CalledInAsync, EncodingError, EventTooLarge, InvalidEvent, Topic
from django_events.models import OutgoingEvent
from django_events.producing.immediate import immediate
from django_events.testing import saved_events, sending, sent_events
from tests.broker import Broker
from tests.ledger.models import Account
from tests.waiting import wait_for

pytestmark = [pytest.mark.usefixtures("declarations")]

Payload = dict[str, Any]


def topic(name: str = "async", **options: Any) -> Topic[Payload]:
    return Topic(name, Payload, **options)


def run(function: Callable[[], Awaitable[Any]]) -> Any:
    """Run the coroutine function as Django runs an async view."""

    async def view() -> Any:
        return await function()

    return async_to_sync(view)()


@pytest.mark.django_db(transaction=True)
def test_asend_saves_in_a_transaction_of_its_own() -> None:
    one, many, kept = topic(), topic("async.many"), Topic("async.kept", Payload, compacted=True)

    async def view() -> None:
        event = await one.asend({"n": 1}, key="a")
        assert event.payload == {"n": 1}
        await many.asend_many([many.event({"n": n}, key="a") for n in range(3)])
        await kept.asend_tombstone("a")

    run(view)
    assert [(row.topic, row.key) for row in saved_events()] == [
        ("async", b"a"),
        *[("async.many", b"a")] * 3,
        ("async.kept", b"a"),
    ]


@pytest.mark.django_db
def test_calls_that_block_name_the_one_to_await_and_save_nothing() -> None:
    blocking = topic()
    compacted = Topic("async.kept", Payload, compacted=True)

    async def view() -> None:
        for call, instead in (
            (lambda: blocking.send({"n": 1}), r"Await asend\(\)"),
            (lambda: blocking.send_many([blocking.event({"n": 1})]), r"Await asend\(\)"),
            (lambda: compacted.send_tombstone("a"), r"Await asend\(\)"),
            (lambda: blocking.send_now({"n": 1}), r"Await asend_now\(\)"),
            (lambda: compacted.send_tombstone_now("a"), r"Await asend_now\(\)"),
        ):
            with pytest.raises(CalledInAsync, match=instead) as refused:
                call()
            assert isinstance(refused.value, SynchronousOnlyOperation)

    run(view)
    assert saved_events() == []
    assert sent_events() == []


@pytest.mark.django_db
def test_where_django_is_told_not_to_mind_neither_do_we(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    blocking = topic()

    async def notebook() -> None:
        blocking.send_now({"n": 1})

    run(notebook)
    assert len(sent_events()) == 1


@pytest.mark.django_db(transaction=True)
def test_change_and_event_in_one_function_share_a_transaction() -> None:
    def open_account(name: str, *, fails: bool) -> None:
        with transaction.atomic():
            Account.objects.create(name=name)
            topic().send({"name": name}, key=name)
            if fails:
                raise ValueError(name)

    async def view() -> None:
        await sync_to_async(open_account)("ann", fails=False)
        with pytest.raises(ValueError, match="bob"):
            await sync_to_async(open_account)("bob", fails=True)

    run(view)
    assert [row.key for row in saved_events()] == [b"ann"]
    assert [account.name for account in Account.objects.all()] == ["ann"]


@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_sent_is_refused_with_nothing_saved() -> None:
    narrow = topic(max_bytes=2_000)

    async def view() -> None:
        for call in (
            lambda: narrow.asend({"n": float("nan")}),
            lambda: narrow.asend({"n": "x" * 2_000}),
            lambda: narrow.asend({"n": 1}, key=1),  # type: ignore[arg-type]
            lambda: narrow.asend_many(["not an event"]),  # type: ignore[list-item]
            lambda: narrow.asend_now({"n": "x" * 2_000}),
            lambda: narrow.asend_tombstone("a"),
        ):
            with pytest.raises((EncodingError, EventTooLarge, InvalidEvent)):
                await call()

    run(view)
    assert saved_events() == []
    assert sent_events() == []


def test_asend_now_is_kept_for_the_test() -> None:
    compacted = Topic("async.kept", Payload, compacted=True)

    async def view() -> None:
        await topic().asend_now({"n": 1}, key="a")
        await topic().asend_many_now([topic().event({"n": 2})])
        await compacted.asend_tombstone_now("a")

    run(view)
    assert [event.payload for event in sent_events()] == [{"n": 1}, {"n": 2}, None]


@pytest.mark.kafka
@pytest.mark.django_db(transaction=True)
@pytest.mark.postgres
def test_what_is_awaited_reaches_kafka(broker: Broker) -> None:
    later, now = topic("async.later"), topic("async.now")

    async def view() -> None:
        await later.asend({"n": 1}, key="a")
        await now.asend_now({"n": 2}, key="a", timeout=120)

    immediate._discard()
    with sending():
        run(view)
        assert [record.payload for record in broker.read("async.now")] == [{"n": 2}]
        wait_for(lambda: not OutgoingEvent.objects.exists())
    (sent,) = {record.id: record.payload for record in broker.read("async.later")}.values()
    assert sent == {"n": 1}
    immediate._discard()
