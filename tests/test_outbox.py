"""P1: an event lives and dies with the transaction that wrote it."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction

from django_events import TransactionRequired
from django_events.models import OutgoingEvent
from django_events.testing import saved_events, sending
from tests.broker import Broker
from tests.ledger.entries import make_entry
from tests.ledger.events import EntryMade, entry_made
from tests.ledger.models import Account
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


@pytest.fixture
def relay(broker: Broker, transactional_db: None) -> Iterator[None]:
    with sending():
        yield


def sent(broker: Broker) -> list[tuple[bytes | None, int]]:
    """Wait until the outbox is empty; key and number of the events in Kafka, which a slow one may have twice."""
    wait_for(lambda: not OutgoingEvent.objects.exists())
    return sorted({(record.key, record.payload["number"]) for record in broker.read("ledger.entry-made")})


class Unwanted(Exception):
    pass


def test_a_committed_event_reaches_kafka_and_leaves_the_outbox(broker: Broker, relay: None) -> None:
    event = make_entry("ann")
    assert sent(broker) == [(b"ann", 1)]
    record, *_ = broker.read("ledger.entry-made")
    assert record.id == event.id
    assert record.value == b'{"account":"ann","number":1,"hold":""}'


def test_an_event_of_a_rolled_back_transaction_never_does(broker: Broker, relay: None) -> None:
    with pytest.raises(Unwanted), transaction.atomic():
        entry_made.send(EntryMade("ann", 1), key="ann")
        raise Unwanted
    make_entry("ann")
    assert sent(broker) == [(b"ann", 1)]


def test_events_of_rolled_back_savepoints_never_do_and_those_around_them_do(broker: Broker, relay: None) -> None:
    with transaction.atomic():
        entry_made.send(EntryMade("ann", 1), key="ann")
        with pytest.raises(Unwanted), transaction.atomic():
            entry_made.send(EntryMade("ann", 2), key="ann")
            with transaction.atomic():
                entry_made.send(EntryMade("ann", 3), key="ann")
            raise Unwanted
        with transaction.atomic():
            entry_made.send(EntryMade("ann", 4), key="ann")
    assert sent(broker) == [(b"ann", 1), (b"ann", 4)]


def test_a_rolled_back_savepoint_does_not_take_the_wake_up_of_later_events_along(broker: Broker, relay: None) -> None:
    with transaction.atomic():
        with pytest.raises(Unwanted), transaction.atomic():
            entry_made.send(EntryMade("ann", 1), key="ann")
            raise Unwanted
        entry_made.send(EntryMade("bob", 1), key="bob")
    assert sent(broker) == [(b"bob", 1)]


def test_an_event_whose_transaction_breaks_is_gone_with_it(relay: None) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        make_entry("ann")
        Account.objects.create(name="ann")
    assert not OutgoingEvent.objects.exists()


def test_a_hook_of_the_site_that_raises_loses_no_event(broker: Broker, relay: None) -> None:
    def fail() -> None:
        raise Unwanted

    def has_sent_all() -> bool:
        with suppress(CommandError):  # a busy Kafka did not take all of it in time
            call_command("catchup", once=True)
        return not OutgoingEvent.objects.exists()

    with pytest.raises(Unwanted), transaction.atomic():
        entry_made.send(EntryMade("ann", 1), key="ann")
        transaction.on_commit(fail)  # Django runs no hook after it, so nobody is woken for the next event
        entry_made.send(EntryMade("bob", 1), key="bob")
    wait_for(has_sent_all)
    assert sent(broker) == [(b"ann", 1), (b"bob", 1)]


def test_send_outside_of_a_transaction_is_refused(transactional_db: None) -> None:
    with pytest.raises(TransactionRequired, match=r"transaction\.atomic\(using='default'\)"):
        entry_made.send(EntryMade("ann", 1), key="ann")
    assert not OutgoingEvent.objects.exists()


def test_send_outside_of_a_transaction_may_be_allowed(transactional_db: None, settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "REQUIRE_TRANSACTION": False}
    entry_made.send(EntryMade("ann", 1), key="ann")
    assert len(saved_events("ledger.entry-made")) == 1


def test_many_events_are_one_insert(transactional_db: None, django_assert_num_queries: Any) -> None:
    events = [entry_made.event(EntryMade("ann", number), key="ann") for number in range(50)]
    with transaction.atomic(), django_assert_num_queries(1):
        entry_made.send_many(events)
    assert [row.event_id for row in saved_events()] == [event.id for event in events]
