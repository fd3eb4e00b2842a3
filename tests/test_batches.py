"""Batch handlers: lists of events, one transaction for each list, and one bad event that costs the others nothing."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

import pytest
from django.db import DatabaseError, connection

from django_events import Batch, BatchItemError, ConsumerGroup, DeclarationError, Event, IgnoreError, OnFailure
from django_events.consuming.service import Service
from django_events.kafka import topics
from django_events.models import ProcessedEvent
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_made
from tests.ledger.models import Entry
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.usefixtures("declarations")]

Consuming = Callable[..., AbstractContextManager[Service]]
Events = list[Event[EntryMade]]

TOPIC = "ledger.entry-made"


@pytest.fixture(autouse=True)
def created(broker: Broker) -> None:
    topics.create_missing([TOPIC], timeout=60)


@pytest.fixture
def group(transactional_db: None) -> ConsumerGroup:
    return ConsumerGroup("batching")


def put(broker: Broker, count: int, key: bytes | None = None) -> None:
    """Records 0 to ``count`` - 1 in one partition; without a key, each is a queue of its own."""
    broker.put_many(TOPIC, [b'{"account":"a","number":%d}' % number for number in range(count)], key, 0)


def done(broker: Broker, count: int) -> None:
    wait_for(lambda: broker.committed("batching", TOPIC, 0) == count)


def numbers(events: Events) -> list[int]:
    return [event.payload.number for event in events]


def enter(events: Events) -> None:
    Entry.objects.bulk_create(
        Entry(handler="batch", account=event.payload.account, number=event.payload.number, process=0)
        for event in events
    )


def entered() -> list[int]:
    return sorted(Entry.objects.values_list("number", flat=True))


def test_a_list_has_at_most_its_size_and_all_of_it_is_in_one_transaction_with_the_marks(
    broker: Broker, consuming: Consuming, group: ConsumerGroup
) -> None:
    lists: list[list[int]] = []
    transactions: list[int] = []

    @group.exactly_once(entry_made, batch=Batch(size=20, parallel=1, wait=60.0))
    def book(events: Events) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT txid_current()")
            transactions.append(cursor.fetchone()[0])
        assert ProcessedEvent.objects.count() == len(entered()) + len(events)
        lists.append(numbers(events))
        enter(events)

    put(broker, 60)
    with consuming(group):
        done(broker, 60)
    assert sorted(number for each in lists for number in each) == list(range(60)) == entered()
    assert [len(each) for each in lists] == [20, 20, 20]
    assert len(set(transactions)) == 3


def test_a_list_that_is_not_full_begins_when_its_wait_is_over(
    broker: Broker, consuming: Consuming, group: ConsumerGroup
) -> None:
    lists: list[int] = []

    @group.idempotent(entry_made, batch=Batch(size=1_000, wait=0.3))
    def note(events: Events) -> None:
        lists.append(len(events))

    put(broker, 7)
    with consuming(group):
        done(broker, 7)
    assert sum(lists) == 7


def test_no_more_lists_than_parallel_are_handled_at_once(
    broker: Broker, consuming: Consuming, group: ConsumerGroup
) -> None:
    may_end = threading.Event()
    running: list[int] = []
    most: list[int] = []

    @group.idempotent(entry_made, batch=Batch(size=1, parallel=3))
    def count(events: Events) -> None:
        running.append(1)
        most.append(len(running))
        may_end.wait(60)
        running.pop()

    put(broker, 30)
    with consuming(group):
        wait_for(lambda: len(running) == 3)
        may_end.set()
        done(broker, 30)
    assert max(most) == 3


def test_the_events_of_a_key_are_in_one_list_at_a_time_and_in_order(
    broker: Broker, consuming: Consuming, group: ConsumerGroup
) -> None:
    lock = threading.Lock()
    together: list[str] = []
    seen: list[int] = []

    @group.idempotent(entry_made, batch=Batch(size=4))
    def note(events: Events) -> None:
        if not lock.acquire(blocking=False):
            together.append("two lists of one key")
            return
        seen.extend(numbers(events))
        lock.release()

    put(broker, 50, key=b"k")
    with consuming(group):
        done(broker, 50)
    assert not together
    assert seen == list(range(50))


def test_what_is_processed_already_is_left_out(broker: Broker, consuming: Consuming, group: ConsumerGroup) -> None:
    lists: list[list[int]] = []
    headers: list[tuple[str, bytes | None]] = [
        ("ce_specversion", b"1.0"), ("ce_id", b"twice"), ("ce_source", b"s"), ("ce_type", b"t")
    ]  # fmt: skip

    @group.exactly_once(entry_made, batch=Batch(size=10, wait=1.0))
    def book(events: Events) -> None:
        lists.append(numbers(events))

    for number in (1, 1, 1):
        broker.put(TOPIC, b'{"account":"a","number":%d}' % number, headers=headers, partition=0)
    with consuming(group):
        done(broker, 3)
        broker.put(TOPIC, b'{"account":"a","number":1}', headers=headers, partition=0)
        done(broker, 4)
    assert lists == [[1]]


@pytest.mark.parametrize("delivery", ["exactly_once", "idempotent"])
def test_the_culprits_of_a_list_are_found_by_halving_and_the_others_take_effect_once(
    broker: Broker, consuming: Consuming, group: ConsumerGroup, delivery: str
) -> None:
    calls: list[list[int]] = []

    def book(events: Events) -> None:
        calls.append(numbers(events))
        if 13 in numbers(events):
            raise ValueError("13 cannot be booked")
        enter(events)

    batch = Batch(size=32, parallel=1, wait=60.0)
    getattr(group, delivery)(entry_made, batch=batch, retry=False, on_failure=OnFailure.DISCARD)(book)
    put(broker, 32)
    with consuming(group):
        done(broker, 32)
    assert entered() == [number for number in range(32) if number != 13]
    assert calls[0] == list(range(32))
    assert len(calls) - 1 <= 2 * 5  # 2 · log2 32


def test_a_culprit_that_is_named_is_left_out_at_once(
    broker: Broker, consuming: Consuming, group: ConsumerGroup
) -> None:
    calls: list[list[int]] = []

    @group.exactly_once(entry_made, batch=Batch(size=32, parallel=1, wait=60.0))
    def book(events: Events) -> None:
        calls.append(numbers(events))
        for event in events:
            if event.payload.number == 13:
                raise BatchItemError(event, IgnoreError("not this one"))
        enter(events)

    put(broker, 32)
    with consuming(group):
        done(broker, 32)
    assert entered() == [number for number in range(32) if number != 13]
    assert calls == [list(range(32)), [number for number in range(32) if number != 13]]


def test_after_a_culprit_the_later_events_of_its_key_wait_for_its_next_try(
    broker: Broker, consuming: Consuming, group: ConsumerGroup
) -> None:
    """P9 in a batch: nothing of the key overtakes the event that failed."""
    may_go_on = threading.Event()
    booked: list[int] = []
    attempts: list[int | None] = []

    @group.exactly_once(entry_made, batch=Batch(size=8, parallel=1, wait=60.0), on_failure=OnFailure.BLOCK)
    def book(events: Events) -> None:
        for event in events:
            if event.payload.number == 3:
                attempts.append(event.attempt)
                if event.attempt == 1:
                    raise BatchItemError(event, ValueError("the first try fails"))
                may_go_on.wait(60)
        booked.extend(numbers(events))
        enter(events)

    put(broker, 8, key=b"k")
    with consuming(group):
        wait_for(lambda: len(entered()) >= 3)
        put_on = [*booked]
        broker.put_many(TOPIC, [b'{"account":"a","number":%d}' % number for number in range(8, 20)], b"k", 0)
        may_go_on.set()
        done(broker, 20)
    assert put_on == [0, 1, 2]
    assert booked == list(range(20))
    assert attempts == [1, 2]


def test_a_record_that_cannot_be_read_is_no_part_of_the_list(
    broker: Broker, consuming: Consuming, group: ConsumerGroup
) -> None:
    calls: list[list[int]] = []

    @group.exactly_once(entry_made, batch=Batch(size=3, parallel=1, wait=60.0), on_failure=OnFailure.DISCARD)
    def book(events: Events) -> None:
        calls.append(numbers(events))

    for body in (b'{"account":"a","number":0}', b"rubbish", b'{"account":"a","number":2}'):
        broker.put(TOPIC, body, partition=0)
    with consuming(group):
        done(broker, 3)
    assert calls == [[0, 2]]


def test_a_batch_that_swallows_a_database_error_is_found_out(
    broker: Broker, consuming: Consuming, group: ConsumerGroup
) -> None:
    calls: list[int] = []

    @group.exactly_once(
        entry_made, batch=Batch(size=2, parallel=1, wait=60.0), retry=False, on_failure=OnFailure.DISCARD
    )
    def book(events: Events) -> None:
        calls.append(len(events))
        enter(events)
        if 1 in numbers(events):
            with suppress(DatabaseError), connection.cursor() as cursor:
                cursor.execute("SELECT 1/0")

    put(broker, 2)
    with consuming(group):
        done(broker, 2)
    assert calls == [2, 1, 1]
    assert entered() == [0]


@pytest.mark.parametrize(
    ("options", "said"),
    [({"size": 0}, "size"), ({"size": 1_001}, "size"), ({"size": True}, "size"), ({"parallel": 0}, "parallel"),
     ({"wait": -1}, "wait"), ({"wait": float("nan")}, "wait"), ({"wait": "1"}, "wait")],
)  # fmt: skip
def test_a_batch_that_cannot_be_is_refused(options: dict[str, int], said: str) -> None:
    with pytest.raises(DeclarationError, match=f"Batch: {said} is"):
        Batch(**options)


class Unshowable(Exception):
    """Neither its repr nor its text can be had."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


def test_a_culprit_is_named_although_it_cannot_be_shown() -> None:
    culprit, cause = Unshowable(), Unshowable()
    error = BatchItemError(culprit, cause)
    assert str(error) == "<Unshowable that cannot be shown>: <Unshowable that cannot be shown>"
    assert error.event is culprit
    assert error.cause is cause
