"""An event becomes a row of the outbox in the caller's transaction, and the relay is woken after its commit."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

from django.db import router, transaction

from django_events import crash_points, signals, tables
from django_events.conf import settings
from django_events.events import Event
from django_events.exceptions import SettingsError, TransactionRequired
from django_events.models import OutgoingEvent, SavedRow
from django_events.producing.in_async import refuse_in_async
from django_events.producing.in_tests import nothing_is_sent
from django_events.producing.metrics import saved
from django_events.producing.relay import relay
from django_events.producing.tracing import encode

_handler_database: ContextVar[str | None] = ContextVar("django_events_handler_database", default=None)


def produce(events: Sequence[Event[Any]], using: str | None = None, *, alone: bool = False) -> None:
    """Write the events to the outbox of one database, in one statement and in the caller's transaction.

    ``alone`` they need none. After the commit they are sent by the relay of this process, unless SEND_AFTER_COMMIT is
    off. Raises EventTooLarge, TransactionRequired, CalledInAsync or SettingsError, each before anything is written.
    Thread-safe.
    """
    refuse_in_async("send()", "asend()")
    database = _database(using)
    records = [(event.id, encode(event)) for event in events]
    if not records:
        return
    if settings.REQUIRE_TRANSACTION and not alone:
        _require_transaction(database)
    with transaction.atomic(using=database, savepoint=False):
        rows = OutgoingEvent.objects.save_records(records, database)
        if crash_points.armed:
            crash_points.reached("row-inserted")
        _wake_after_commit(rows, database)
    saved(events)
    for event in events:
        signals.event_saved.send_robust(sender=event.topic, event=event, using=database)


@contextmanager
def in_database_of_handler(using: str) -> Iterator[None]:
    """Inside, events go to this database unless the caller names another: the one of the running handler."""
    token = _handler_database.set(using)
    try:
        yield
    finally:
        _handler_database.reset(token)


def _database(using: str | None) -> str:
    tables.require("send()", "or use send_now(), which does without")
    database = using or _handler_database.get() or router.db_for_write(OutgoingEvent)
    if database not in settings.DATABASES:
        raise SettingsError(
            f"The database {database!r} has no outbox. Add it to settings.DJANGO_EVENTS['DATABASES'] "
            f"(now {list(settings.DATABASES)!r}), or send with using= one of those."
        )
    return database


def _require_transaction(database: str) -> None:
    if not transaction.get_connection(database).in_atomic_block:
        raise TransactionRequired(
            f"send() was called outside of a transaction of database {database!r}, so a crash could separate the event "
            f"from the change that it tells of. Put both into transaction.atomic(using={database!r})."
        )


def _wake_after_commit(rows: Sequence[SavedRow], database: str) -> None:
    """One hook for each call: Django drops it together with the savepoint in which the rows were written."""
    if not settings.SEND_AFTER_COMMIT or nothing_is_sent():
        return
    relay.prepare(database)
    transaction.on_commit(partial(_wake, rows, database), using=database, robust=True)


def is_wake_up(hook: object) -> bool:
    """Whether this on_commit hook is one that wakes the relay: it may run late, and raises nothing."""
    return isinstance(hook, partial) and hook.func is _wake


def _wake(rows: Sequence[SavedRow], database: str) -> None:
    if crash_points.armed:
        crash_points.reached("committed-before-wake")
    relay.wake(rows, database)
