"""Callbacks of subscriptions: in order, whatever others do; what hangs or breaks a connection concerns nobody else."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.db import connection, transaction

from django_events import Event
from django_events.following import callbacks
from django_events.following.hub import hub
from django_events.kafka.record import Partition, ReceivedRecord
from tests.ledger.events import EntryMade, entry_made
from tests.ledger.models import Entry
from tests.waiting import wait_for

TOPIC = "ledger.entry-made"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody is waited for long, and threads end when there is nothing to do."""
    monkeypatch.setattr(callbacks, "PATIENCE", 0.05)
    monkeypatch.setattr(callbacks, "STAY", 0.0)
    yield
    wait_for(lambda: not threads())


@pytest.fixture
def may_end() -> Iterator[threading.Event]:
    """What hangs until the test ends."""
    event = threading.Event()
    yield event
    event.set()


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == "django-events-callbacks"]


def add(number: int, key: str = "ann") -> None:
    body = b'{"account":"a","number":%d}' % number
    hub.add(ReceivedRecord(Partition(TOPIC, 0), number, key.encode(), body, [], None))


class Hanging:
    """A callback that returns when the test ends."""

    def __init__(self, may_end: threading.Event) -> None:
        self.called: list[int] = []
        self._may_end = may_end

    def __call__(self, event: Event[EntryMade]) -> None:
        self.called.append(event.payload.number)
        self._may_end.wait(60)


def test_callbacks_that_hang_hold_up_no_other_and_wait_once_each(may_end: threading.Event, caplog: Any) -> None:
    hanging = [Hanging(may_end) for _ in range(3)]
    seen: list[int] = []
    with ExitStack() as subscribed:
        for each in hanging:
            subscribed.enter_context(entry_made.subscribe(key="ann", callback=each, limit=5))
        subscribed.enter_context(
            entry_made.subscribe(limit=200, callback=lambda event: seen.append(event.payload.number))
        )
        for number in range(100):
            add(number)
        wait_for(lambda: seen == [*range(100)])
        wait_for(lambda: [len(each.called) for each in hanging] == [1, 1, 1])
        add(100, key="bob")
        wait_for(lambda: seen[-1] == 100)
        assert len(hub._callbacks._due) <= 4  # each subscription once at most, whatever has come for it
    # On a busy machine the one that is quick may be late, too.
    said = [line for line in caplog.messages if "the others are called beside it" in line and "Hanging object" in line]
    assert len(said) == 3
    assert all(TOPIC in line for line in said)


def test_one_that_hangs_gets_the_rest_of_its_events_in_order(may_end: threading.Event) -> None:
    hanging = Hanging(may_end)
    with entry_made.subscribe(callback=hanging):
        for number in range(20):
            add(number)
        wait_for(lambda: hanging.called == [0])
        may_end.set()
        wait_for(lambda: hanging.called == [*range(20)])


def test_quick_callbacks_are_called_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "PATIENCE", 5.0)
    at_once: list[int] = []
    seen: list[int] = []
    running = threading.Semaphore(0)

    def note(event: Event[EntryMade]) -> None:
        running.release()
        at_once.append(running._value)
        seen.append(event.payload.number)
        running.acquire()

    with entry_made.subscribe(callback=note), entry_made.subscribe(callback=note):
        for number in range(50):
            add(number)
        wait_for(lambda: len(seen) == 100)
    assert set(at_once) == {1}


def test_where_no_thread_can_be_had_for_now_the_reader_does_not_suffer(
    monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    seen: list[int] = []
    own = callbacks.Callbacks()
    monkeypatch.setattr(hub, "_callbacks", own)
    with entry_made.subscribe(callback=lambda event: seen.append(event.payload.number)):
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            add(1)
        assert "No thread could be started" in caplog.text
        add(2)
        wait_for(lambda: seen == [1, 2])


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_connection_that_is_broken_is_replaced_and_an_open_transaction_is_dropped(caplog: Any) -> None:
    def count(event: Event[EntryMade]) -> None:
        if event.payload.number == 1:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        if event.payload.number == 2:
            connection.set_autocommit(False)
            Entry.objects.count()
        if event.payload.number == 3:
            transaction.atomic().__enter__()
        if event.payload.number == 4:
            found.append((Entry.objects.count(), connection.get_autocommit(), connection.in_atomic_block))

    found: list[tuple[int, bool, bool]] = []
    with entry_made.subscribe(callback=count):
        for number in (1, 2, 3, 4):
            add(number)
        wait_for(lambda: found)
    assert found == [(0, True, False)]
    assert caplog.text.count("of a subscription failed") == 1
    wait_for(lambda: not _backends())  # CONN_MAX_AGE is over: an idle thread keeps no connection


def _backends() -> int:
    """The sessions of this test's database beside ours."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return int(cursor.fetchone()[0])
