"""What an event costs the database, in counts: a change that adds a statement for each event fails here."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection, transaction

from benchmarks.counters import Counts
from django_events import Batch, ConsumerGroup, Event, signals
from django_events.consuming import handing_out, letter_retrier, trying
from django_events.consuming.limits import Limits
from django_events.consuming.service import Service
from django_events.models import OutgoingEvent, ProcessedEvent
from django_events.producing.catchup import Catchup
from django_events.stopping import Stop
from django_events.testing import sending
from tests.broker import Broker
from tests.counting import Counting
from tests.ledger.events import EntryMade, entry_made
from tests.ledger.models import Entry
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def patient(patient_sender: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy Kafka has time to answer: what it has not acknowledged in time is sent again, which costs more. And what
    is looked for each second is not looked for more often because it takes longer."""
    monkeypatch.setattr(letter_retrier, "LOOK", 3600.0)


def save_entries(count: int, keys: int = 100) -> None:
    with transaction.atomic():
        entry_made.send_many(
            [entry_made.event(EntryMade(f"a{n % keys}", n // keys), key=f"a{n % keys}") for n in range(count)]
        )


def per_event(found: SimpleNamespace, events: int) -> tuple[float, float, float]:
    """Statements, bytes of the log, dead tuples."""
    made: Counts = found.counts
    assert made.statements is not None and made.wal_of_statements is not None
    return made.statements / events, made.wal_of_statements / events, made.dead_tuples / events


def test_draining_costs_few_statements_and_one_dead_tuple_for_each_event(broker: Broker, counting: Counting) -> None:
    broker.create("ledger.entry-made")
    save_entries(3_000)
    with counting() as found:
        assert Catchup(["default"]).run_once(Stop()).sent == 3_000
    statements, wal, dead_tuples = per_event(found, 3_000)
    assert statements <= 0.02
    assert dead_tuples <= 1
    assert wal <= 1_200


def test_a_hot_key_costs_no_more(broker: Broker, counting: Counting) -> None:
    broker.create("ledger.entry-made")
    save_entries(3_000, keys=1)
    with counting() as found:
        assert Catchup(["default"]).run_once(Stop()).sent == 3_000
    statements, _, dead_tuples = per_event(found, 3_000)
    assert statements <= 0.015
    assert dead_tuples <= 1


def test_our_own_looks_are_not_counted_whoever_has_asked_the_same_before(counting: Counting) -> None:
    """pg_stat_statements keeps one text for all statements that it takes for the same."""
    with counting():
        pass  # now PostgreSQL counts
    with connection.cursor() as cursor:  # forget this database's alone: others count at the same time
        cursor.execute("SELECT pg_stat_statements_reset(0, oid, 0) FROM pg_database WHERE datname = current_database()")
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute("SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'")
    with counting() as found:
        pass
    assert found.counts.statements == 0


def test_a_look_at_an_empty_outbox_costs_the_same_whatever_was_sent(broker: Broker, counting: Counting) -> None:
    broker.create("ledger.entry-made")
    catchup = Catchup(["default"])
    save_entries(100)
    assert catchup.one_pass("default", Stop()).sent == 100
    with counting() as found:
        catchup.one_pass("default", Stop())
    catchup.close()
    assert found.counts.statements <= 6, "BEGIN, one that prepares, the look, COMMIT, and what a new connection asks"
    assert found.counts.dead_tuples == 0


def test_sending_costs_one_statement_in_the_callers_transaction(broker: Broker, counting: Counting) -> None:
    with counting() as found:
        for number in range(100):
            with transaction.atomic():
                entry_made.send(EntryMade("a", number), key="a")
    assert OutgoingEvent.objects.count() == 100
    statements, _, dead_tuples = per_event(found, 100)
    assert statements <= 3.2, "BEGIN, INSERT, COMMIT, and what a new connection asks"
    assert dead_tuples == 0


def consume(
    broker: Broker, group: ConsumerGroup, handled: list[Any], events: int, may_begin: threading.Event | None = None
) -> None:
    """Run the group until its handler was called for each event and all is committed. ``may_begin`` is set when all of
    them are there: so that as many of them go together as may, however busy the machine is."""
    service = Service([group], limits=Limits(workers=4, in_hand_of_partition=events))
    service.begin()
    try:
        if may_begin:
            wait_for(lambda: in_hand(service) == events)
            may_begin.set()
        wait_for(lambda: len(handled) >= events)
    finally:
        assert service.stop(120)


def in_hand(service: Service) -> int:
    """How many records it has, and is not done with."""
    (group,) = service._groups
    return sum(progress.in_hand for progress in [*group._progress.values()])


def test_exactly_once_costs_few_statements_beside_the_handlers_own_under_backlog(
    broker: Broker, counting: Counting, declarations: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (handing_out, trying):
        monkeypatch.setattr(module, "LONGEST", 600.0)  # the time of a transaction is not over on a busy machine
    for bound in ("LEAST_PLENTY", "MOST_PLENTY"):
        monkeypatch.setattr(handing_out, bound, 10_000)  # all are fetched at once
    broker.create("ledger.entry-made")
    save_entries(3_000)
    Catchup(["default"]).run_once(Stop())
    group = ConsumerGroup("costs")
    handled: list[str] = []
    may_begin = threading.Event()

    @group.exactly_once(entry_made)
    def book(event: Event[EntryMade]) -> None:
        may_begin.wait(120)
        Entry.objects.create(
            handler="book", topic="", event_id=event.id, account=event.payload.account, number=1, process=1
        )
        handled.append(event.id)

    with counting() as found:
        consume(broker, group, handled, 3_000, may_begin)
    assert Entry.objects.count() == ProcessedEvent.objects.count() == 3_000
    statements, wal, dead_tuples = per_event(found, 3_000)
    assert statements - 1 <= 0.1
    assert wal <= 2_000
    assert dead_tuples <= 0.01


def test_an_exactly_once_batch_costs_few_statements(broker: Broker, counting: Counting, declarations: None) -> None:
    broker.create("ledger.entry-made")
    save_entries(3_000)
    Catchup(["default"]).run_once(Stop())
    group = ConsumerGroup("batches")
    handled: list[str] = []

    @group.exactly_once(entry_made, batch=Batch(size=100, wait=60))  # full, however busy the machine is
    def pile(events: list[Event[EntryMade]]) -> None:
        Entry.objects.bulk_create(
            [
                Entry(handler="pile", topic="", event_id=each.id, account=each.payload.account, number=1, process=1)
                for each in events
            ]
        )
        handled.extend(each.id for each in events)

    with counting() as found:
        consume(broker, group, handled, 3_000)
    assert Entry.objects.count() == ProcessedEvent.objects.count() == 3_000
    statements, wal, dead_tuples = per_event(found, 3_000)
    assert statements <= 0.1, "BEGIN, the marks, the handler's own, COMMIT"
    assert wal <= 2_000
    assert dead_tuples <= 0.01


def test_the_thread_costs_few_statements_for_each_commit(broker: Broker, counting: Counting) -> None:
    broker.create("ledger.entry-made")
    sent: list[str] = []

    def note(event_id: str, **_: object) -> None:
        sent.append(event_id)

    signals.event_sent.connect(note)
    with counting() as found, sending():
        for number in range(100):
            with transaction.atomic():
                entry_made.send(EntryMade("a", number), key="a")
            wait_for(lambda: len(sent) > number)  # noqa: B023
    statements, wal, dead_tuples = per_event(found, 100)
    assert statements <= 12, "BEGIN, INSERT, COMMIT, and a round of six; now and then a look that finds nothing"
    assert wal <= 2_000
    assert dead_tuples <= 1


def test_an_idempotent_handler_costs_no_statement(broker: Broker, counting: Counting, declarations: None) -> None:
    broker.create("ledger.entry-made")
    save_entries(3_000)
    Catchup(["default"]).run_once(Stop())
    group = ConsumerGroup("free")
    handled: list[str] = []

    @group.idempotent(entry_made)
    def note(event: Event[EntryMade]) -> None:
        handled.append(event.id)

    with counting() as found:
        consume(broker, group, handled, 3_000)
    statements, _, dead_tuples = per_event(found, 3_000)
    assert statements <= 0.1, "what looks for dead letters, by time and not by event"
    assert dead_tuples == 0
