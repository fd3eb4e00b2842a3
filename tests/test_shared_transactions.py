"""Events that wait share a transaction; a handler cannot tell, and one that fails costs the others nothing."""

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction

from django_events import ConsumerGroup, Event, IgnoreError, OnFailure
from django_events.consuming import handing_out, pulse, sharing, trying
from django_events.consuming.limits import Limits
from django_events.consuming.service import Service
from django_events.kafka import topics
from django_events.models import OutgoingEvent, ProcessedEvent
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_closed, entry_made
from tests.ledger.models import Entry
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.usefixtures("declarations", "patient")]

Consuming = Callable[..., AbstractContextManager[Service]]

TOPIC = "ledger.entry-made"
ALL_AT_ONCE = Limits(workers=1)


@pytest.fixture(autouse=True)
def created(broker: Broker) -> None:
    topics.create_missing([TOPIC], timeout=60)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a transaction is never over, and no standstill is noticed, however slow the machine."""
    monkeypatch.setattr(trying, "LONGEST", 600.0)
    monkeypatch.setattr(handing_out, "LONGEST", 600.0)
    monkeypatch.setattr(pulse, "LONGEST_SILENCE", 600.0)


@pytest.fixture
def group(transactional_db: None) -> ConsumerGroup:
    return ConsumerGroup("sharing")


def put(broker: Broker, count: int, key: bytes | None = None) -> None:
    broker.put_many(TOPIC, [b'{"account":"a","number":%d}' % number for number in range(count)], key, 0)


def done(broker: Broker, count: int) -> None:
    wait_for(lambda: broker.committed("sharing", TOPIC, 0) == count)


def book(event: Event[EntryMade]) -> int:
    """Leave an effect; return the transaction in which it is."""
    Entry.objects.create(handler="h", account="a", number=event.payload.number, process=0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT txid_current()")
        return int(cursor.fetchone()[0])


def booked() -> list[int]:
    return sorted(Entry.objects.values_list("number", flat=True))


@pytest.mark.parametrize("key", [b"k", None])
def test_events_that_wait_share_a_transaction_up_to_fifty(
    broker: Broker, consuming: Consuming, group: ConsumerGroup, key: bytes | None
) -> None:
    transactions: Counter[int] = Counter()
    order: list[int] = []

    @group.exactly_once(entry_made)
    def handle(event: Event[EntryMade]) -> None:
        transactions[book(event)] += 1
        order.append(event.payload.number)

    put(broker, 200, key)
    with consuming(group, limits=ALL_AT_ONCE):
        done(broker, 200)
    assert booked() == list(range(200))
    assert max(transactions.values()) == sharing.MOST
    assert len(transactions) < 20
    assert key is None or order == list(range(200))


def test_when_the_time_is_over_the_transaction_ends_and_the_rest_is_not_marked(
    broker: Broker, consuming: Consuming, group: ConsumerGroup, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trying.Trial, "_has_time", lambda trial: False)
    unmarked: list[int] = []
    unmark = ProcessedEvent.objects.unmark

    def noting(keys: Any, using: str) -> None:
        unmarked.append(len(keys))
        unmark(keys, using)

    monkeypatch.setattr(ProcessedEvent.objects, "unmark", noting)
    transactions: list[int] = []

    @group.exactly_once(entry_made)
    def handle(event: Event[EntryMade]) -> None:
        transactions.append(book(event))

    put(broker, 30)
    with consuming(group, limits=ALL_AT_ONCE):
        done(broker, 30)
    assert booked() == list(range(30))
    assert len(set(transactions)) == 30
    assert ProcessedEvent.objects.count() == 30
    assert sum(unmarked) > 0


def test_one_that_fails_costs_the_others_nothing(broker: Broker, consuming: Consuming, group: ConsumerGroup) -> None:
    calls: Counter[int] = Counter()

    @group.exactly_once(entry_made, retry=False, on_failure=OnFailure.DISCARD)
    def handle(event: Event[EntryMade]) -> None:
        calls[event.payload.number] += 1
        assert event.attempt == 1
        book(event)
        if event.payload.number == 25:
            raise ValueError("this one cannot be booked")

    put(broker, 50)
    with consuming(group, limits=ALL_AT_ONCE):
        done(broker, 50)
    assert booked() == [number for number in range(50) if number != 25]
    assert max(calls.values()) == 2


@pytest.mark.parametrize(
    "break_it",
    [
        lambda: Entry.objects.create(pk=Entry.objects.latest("pk").pk, handler="h", account="a", number=0, process=0),
        lambda: transaction.set_rollback(True),
        lambda: connection.close(),
        lambda: connection.cursor().execute("ROLLBACK"),
    ],
    ids=["caught-error", "set-rollback", "closed", "rolled-back-by-hand"],
)
def test_one_that_breaks_the_transaction_without_raising_costs_the_others_nothing(
    broker: Broker, consuming: Consuming, group: ConsumerGroup, break_it: Callable[[], Any]
) -> None:
    @group.exactly_once(entry_made, retry=False, on_failure=OnFailure.DISCARD)
    def handle(event: Event[EntryMade]) -> None:
        book(event)
        if event.payload.number == 5:
            with suppress(IntegrityError):
                break_it()

    put(broker, 20)
    with consuming(group, limits=ALL_AT_ONCE):
        done(broker, 20)
    assert booked() == [number for number in range(20) if number != 5]
    assert ProcessedEvent.objects.count() == 19


def test_one_that_is_ignored_is_rolled_back_alone(broker: Broker, consuming: Consuming, group: ConsumerGroup) -> None:
    @group.exactly_once(entry_made)
    def handle(event: Event[EntryMade]) -> None:
        book(event)
        if event.payload.number % 10 == 0:
            raise IgnoreError("every tenth is passed over")

    put(broker, 40)
    with consuming(group, limits=ALL_AT_ONCE):
        done(broker, 40)
    assert booked() == [number for number in range(40) if number % 10]


def test_a_transaction_ends_after_an_event_whose_handler_registers_on_commit(
    broker: Broker, consuming: Consuming, group: ConsumerGroup
) -> None:
    """What the hook finds committed is its own event's effect and none of a later event."""
    found: list[tuple[int, list[int]]] = []
    order: list[int] = []

    @group.exactly_once(entry_made)
    def handle(event: Event[EntryMade]) -> None:
        number = event.payload.number
        book(event)
        order.append(number)
        if number % 10 == 5:
            transaction.on_commit(lambda: found.append((number, booked())))

    put(broker, 30, b"k")
    with consuming(group, limits=ALL_AT_ONCE):
        done(broker, 30)
    assert found == [(number, list(range(number + 1))) for number in (5, 15, 25)]
    assert booked() == list(range(30)) == order


def test_events_that_handlers_send_do_not_end_the_transaction(
    broker: Broker, consuming: Consuming, group: ConsumerGroup
) -> None:
    transactions: Counter[int] = Counter()

    @group.exactly_once(entry_made)
    def forward(event: Event[EntryMade]) -> None:
        entry_closed.send(event.payload, key=event.key)
        transactions[book(event)] += 1

    put(broker, 100, b"k")
    with consuming(group, limits=ALL_AT_ONCE):
        done(broker, 100)
    assert max(transactions.values()) > 1
    sent = OutgoingEvent.objects.filter(topic="ledger.entry-closed").order_by("id").values_list("value", flat=True)
    assert len(sent) == 100


def test_a_handler_that_wants_no_shared_transaction_gets_one_for_each_event(
    broker: Broker, consuming: Consuming, group: ConsumerGroup
) -> None:
    transactions: list[int] = []
    found: list[str] = []

    @group.exactly_once(entry_made, shared_transaction=False)
    def handle(event: Event[EntryMade]) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('lock_timeout')")
            found.append(cursor.fetchone()[0])
            cursor.execute("SET LOCAL lock_timeout = '7s'")
        transactions.append(book(event))

    put(broker, 20)
    with consuming(group, limits=ALL_AT_ONCE):
        done(broker, 20)
    assert len(set(transactions)) == 20
    assert "7s" not in found


def test_after_a_deadlock_the_handler_runs_singly_and_no_attempt_is_burnt(
    broker: Broker, consuming: Consuming, group: ConsumerGroup
) -> None:
    """Two rows locked crosswise by two workers: with transactions of one event each they cannot meet for long. That
    they have one each, test_units.py shows."""
    Entry.objects.bulk_create(Entry(handler="row", account=name, number=-1, process=0) for name in ("x", "y"))
    meeting = threading.Barrier(2)
    met: list[str] = []

    def lock(name: str) -> None:
        Entry.objects.select_for_update().get(account=name)

    @group.exactly_once(entry_made, retry=False, on_failure=OnFailure.DISCARD)
    def handle(event: Event[EntryMade]) -> None:
        first, second = ("x", "y") if event.key == "a" else ("y", "x")
        lock(first)
        if len(met) < 2:
            met.append(first)
            meeting.wait(60)
        lock(second)
        book(event)

    for key in (b"a", b"b"):
        broker.put_many(TOPIC, [b'{"account":"%s","number":%d}' % (key, n) for n in range(50)], key, 0)
    with consuming(group, limits=Limits(workers=2)):
        done(broker, 100)
    assert Entry.objects.filter(handler="h").count() == 100
    assert len(met) == 2


def test_a_deadlock_of_a_single_event_is_tried_again_at_once(
    broker: Broker, consuming: Consuming, group: ConsumerGroup
) -> None:
    attempts: list[int | None] = []

    @group.exactly_once(entry_made, shared_transaction=False, retry=False, on_failure=OnFailure.DISCARD)
    def handle(event: Event[EntryMade]) -> None:
        attempts.append(event.attempt)
        book(event)
        if len(attempts) < 3:
            with connection.cursor() as cursor:
                cursor.execute("DO $$ BEGIN RAISE EXCEPTION 'as if' USING ERRCODE = '40P01'; END $$")

    put(broker, 1)
    with consuming(group):
        done(broker, 1)
    assert attempts == [1, 1, 1]
    assert booked() == [0]


def test_a_deadlock_without_end_is_a_failure_of_the_handler(
    broker: Broker, consuming: Consuming, group: ConsumerGroup
) -> None:
    errors: list[type[BaseException]] = []

    @group.exactly_once(entry_made, retry=False, on_failure=OnFailure.DISCARD)
    def handle(event: Event[EntryMade]) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("DO $$ BEGIN RAISE EXCEPTION 'as if' USING ERRCODE = '40001'; END $$")
        except OperationalError as error:
            errors.append(type(error))
            raise

    put(broker, 1)
    with consuming(group):
        done(broker, 1)
    assert len(errors) == 6
