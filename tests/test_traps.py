"""What handlers do to transactions loses no event: effects are committed with their mark, or it is tried again."""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

import pytest
from django.db import IntegrityError, close_old_connections, connection, transaction

from django_events import ConsumerGroup, Event
from django_events.consuming.limits import Limits
from django_events.consuming.service import Service
from django_events.kafka import topics
from django_events.models import ProcessedEvent
from django_events.signals import event_handled
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_made
from tests.ledger.models import Account, Entry
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.usefixtures("declarations")]

Consuming = Callable[..., AbstractContextManager[Service]]


@pytest.fixture(autouse=True)
def one_event(broker: Broker, transactional_db: None) -> None:
    topics.create_missing(["ledger.entry-made"], timeout=60)
    broker.put("ledger.entry-made", b'{"account":"ann","number":1}', key=b"ann", partition=0)
    Account.objects.create(name="taken")


def attempts_until_passed(
    broker: Broker, consuming: Consuming, misbehave: Callable[[], None], *, times: int = 1
) -> list[int]:
    """Run a handler that leaves an entry and misbehaves in its first attempts; the attempts that it took."""
    group = ConsumerGroup("trapped")
    attempts: list[int] = []

    @group.exactly_once(entry_made)
    def handle(event: Event[EntryMade]) -> None:
        attempts.append(event.attempt or 0)
        Entry.objects.create(handler="trapped", account="ann", number=len(attempts), process=0)
        if len(attempts) <= times:
            misbehave()

    with consuming(group):
        wait_for(lambda: broker.committed("trapped", "ledger.entry-made", 0) == 1)
    return attempts


def effects() -> list[int]:
    """The attempts whose effects are in the database; there must be a mark for each."""
    assert ProcessedEvent.objects.count() == Entry.objects.count()
    return list(Entry.objects.values_list("number", flat=True))


def swallow_an_integrity_error() -> None:
    with suppress(IntegrityError):
        Account.objects.create(name="taken")


def swallow_an_error_of_the_driver() -> None:
    with suppress(Exception):
        connection.connection.execute("SELECT 1/0")  # past Django, which learns nothing of it


def close_the_connection() -> None:
    connection.close()


def close_the_connection_and_go_on() -> None:
    connection.close()
    Account.objects.create(name="outside of the transaction")


def roll_back_by_hand() -> None:
    connection.connection.execute("ROLLBACK")


def commit_by_hand_and_go_on() -> None:
    with connection.cursor() as cursor:
        cursor.execute("commit")
    Account.objects.create(name="in a transaction of its own")


def demand_a_rollback() -> None:
    transaction.set_rollback(True)


def open_a_durable_transaction() -> None:
    with transaction.atomic(durable=True):
        pass


@pytest.mark.parametrize(
    "misbehave",
    [
        swallow_an_integrity_error,
        swallow_an_error_of_the_driver,
        close_old_connections,
        close_the_connection,
        close_the_connection_and_go_on,
        roll_back_by_hand,
        commit_by_hand_and_go_on,
        demand_a_rollback,
        open_a_durable_transaction,
    ],
)
def test_an_attempt_whose_transaction_is_broken_is_a_failure_and_is_made_again(
    broker: Broker, consuming: Consuming, misbehave: Callable[[], None]
) -> None:
    assert attempts_until_passed(broker, consuming, misbehave) == [1, 2]
    assert effects() == [2]


def test_an_error_that_is_caught_around_a_savepoint_breaks_nothing(broker: Broker, consuming: Consuming) -> None:
    def catch_around_a_savepoint() -> None:
        with suppress(IntegrityError), transaction.atomic():
            Account.objects.create(name="taken")

    assert attempts_until_passed(broker, consuming, catch_around_a_savepoint) == [1]
    assert effects() == [1]


def test_a_hook_that_raises_after_the_commit_is_no_failure_of_the_handler(
    broker: Broker, consuming: Consuming, caplog: Any
) -> None:
    def register_a_hook_that_raises() -> None:
        def fail() -> None:
            raise ValueError("after the commit")

        transaction.on_commit(fail)

    assert attempts_until_passed(broker, consuming, register_a_hook_that_raises) == [1]
    assert effects() == [1]
    assert "An on_commit hook of handler trapped/handle failed after its effects were committed" in caplog.text
    assert "its key waits" not in caplog.text


def test_what_is_hidden_is_not_in_the_log_of_a_hook_that_raises(
    broker: Broker, consuming: Consuming, caplog: Any, settings: Any
) -> None:
    settings.DJANGO_EVENTS = settings.DJANGO_EVENTS | {"REDACT": ["account"]}

    def fail() -> None:
        raise ValueError("".join(["account", " of ann"]))

    assert attempts_until_passed(broker, consuming, lambda: transaction.on_commit(fail)) == [1]
    assert "failed after its effects were committed: ValueError" in caplog.text
    assert "in fail" in caplog.text
    assert "account of ann" not in caplog.text


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_handler_that_wants_to_end_the_process_has_failed(
    broker: Broker, consuming: Consuming, error: type[BaseException]
) -> None:
    def leave() -> None:
        raise error

    assert attempts_until_passed(broker, consuming, leave) == [1, 2]
    assert effects() == [2]


def test_a_transaction_that_a_handler_leaves_open_is_rolled_back_and_the_next_event_is_not_lost_in_it(
    broker: Broker, consuming: Consuming
) -> None:
    def leave_a_transaction_open() -> None:
        transaction.atomic().__enter__()

    assert attempts_until_passed(broker, consuming, leave_a_transaction_open) == [1, 2]
    assert effects() == [2]


def test_an_idempotent_handler_that_leaves_a_transaction_open_harms_no_other(
    broker: Broker, consuming: Consuming
) -> None:
    group = ConsumerGroup("leaking")

    @group.idempotent(entry_made)
    def leak(event: Event[EntryMade]) -> None:
        transaction.atomic().__enter__()

    @group.exactly_once(entry_made)
    def keep(event: Event[EntryMade]) -> None:
        Entry.objects.create(handler="keep", account="ann", number=1, process=0)

    for _ in range(20):
        broker.put("ledger.entry-made", b'{"account":"ann","number":1}', partition=1)
    with consuming(group, limits=Limits(workers=1)):
        wait_for(lambda: broker.committed("leaking", "ledger.entry-made", 1) == 20)
        wait_for(lambda: broker.committed("leaking", "ledger.entry-made", 0) == 1)
    assert effects() == [1] * 21


def test_an_error_that_is_its_own_cause_is_a_failure_like_any_other(broker: Broker, consuming: Consuming) -> None:
    def raise_from_itself() -> None:
        error = ValueError("a circle")
        raise error from error

    assert attempts_until_passed(broker, consuming, raise_from_itself) == [1, 2]


def test_a_wrapped_coroutine_has_not_handled_anything(broker: Broker, consuming: Consuming) -> None:
    group = ConsumerGroup("asking")
    results: list[object] = []

    async def work() -> None:
        raise AssertionError("nobody runs this")

    def handle(event: Event[EntryMade]) -> object:
        coroutine = work()
        results.append(coroutine)
        return coroutine if len(results) == 1 else coroutine.close()

    group.exactly_once(entry_made)(handle)  # type: ignore[arg-type]
    with consuming(group):
        wait_for(lambda: broker.committed("asking", "ledger.entry-made", 0) == 1)
    assert len(results) == 2
    results[0].close()  # type: ignore[attr-defined]


def test_a_receiver_that_wants_to_end_the_process_repeats_nothing(broker: Broker, consuming: Consuming) -> None:
    def leave(**_: object) -> None:
        raise SystemExit

    event_handled.connect(leave)
    try:
        assert attempts_until_passed(broker, consuming, lambda: None) == [1]
    finally:
        event_handled.disconnect(leave)
    assert effects() == [1]
