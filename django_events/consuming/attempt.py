"""One try of one handler with one or more events, in one transaction if it is exactly-once. Ends in outcomes.

Runs in a worker's thread and touches no Kafka. Nothing that a handler does or raises gets past it.
"""

import logging
import time
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import InterfaceError, OperationalError, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_events import crash_points, signals
from django_events.conf import settings
from django_events.consuming.failure_report import FailureReport, describe
from django_events.consuming.reading import mark_of, read_event
from django_events.consuming.transactions import check_unbroken, works
from django_events.events import Event
from django_events.exceptions import HandlerTransactionBroken
from django_events.failures import name_of
from django_events.handlers import Delivery, Handler
from django_events.kafka.record import ReceivedRecord
from django_events.models import ProcessedEvent
from django_events.producing.produce import in_database_of_handler

logger = logging.getLogger("django_events.handlers")


@dataclass(frozen=True, slots=True)
class Handled:
    """The handler took effect."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The handler's effects of this event are committed already; it was not called."""


@dataclass(frozen=True, slots=True)
class Postponed:
    """The try could not take place: the database is away, or another transaction holds the event's mark."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Failed:
    """The handler, or the record, is at fault."""

    error: BaseException
    report: FailureReport


@dataclass(frozen=True, slots=True)
class LetterWritten:
    """Kafka has acknowledged the dead letter."""


@dataclass(frozen=True, slots=True)
class LetterRefused:
    """Kafka has not taken the dead letter."""

    reason: str


Outcome = Handled | Duplicate | Postponed | Failed | LetterWritten | LetterRefused


def attempt(handler: Handler, records: Sequence[ReceivedRecord], number: int) -> list[Outcome]:
    """Try the handler with these records, for the ``number``-th time; one outcome for each record, in their order."""
    started = time.monotonic()
    try:
        events = [read_event(handler, record, number) for record in records]
        if handler.delivery is Delivery.EXACTLY_ONCE:
            fresh = _exactly_once(handler, events)
        else:
            _call(handler, events)
            fresh = events
    except BaseException as error:  # SystemExit in a handler is a failure of the handler, not the end of a worker
        return [_failure(error, record) for record in records]
    _tell(handler, fresh, time.monotonic() - started)
    handled = {id(event) for event in fresh}
    return [Handled() if id(event) in handled else Duplicate() for event in events]


def _exactly_once(handler: Handler, events: Sequence[Event[Any]]) -> Sequence[Event[Any]]:
    """Call the handler with the events that are not processed yet; return those, once all is committed."""
    using = router.db_for_write(ProcessedEvent)
    committed: list[bool] = []
    fresh: Sequence[Event[Any]] = ()
    try:
        with transaction.atomic(using=using, durable=True):
            # The first hook, so it runs before any of the handler's that could raise.
            transaction.on_commit(lambda: committed.append(True), using=using)
            fresh = _mark(events, using)
            if fresh:
                _call_in_transaction(handler, fresh, using)
    except BaseException as error:
        if not committed:
            raise
        # Success is the commit. What failed afterwards is an on_commit hook; trying again would repeat nothing.
        _say_hook_failed(handler, error)
    if not committed:
        raise HandlerTransactionBroken(
            f"Handler {handler} returned, but its transaction was not committed: it began a transaction.atomic() that "
            "it did not end. Use it in a with statement."
        )
    if crash_points.armed:
        crash_points.reached("handler-committed")
    return fresh


def _say_hook_failed(handler: Handler, error: BaseException) -> None:
    text = "An on_commit hook of handler %s failed after its effects were committed"
    if settings.REDACT:  # the error's text may hold what is hidden
        where = "".join(traceback.format_tb(error.__traceback__)).rstrip()
        logger.error(f"{text}: %s\n%s", handler, name_of(type(error)), where)
    else:
        logger.error(text, handler, exc_info=error)


def _mark(events: Sequence[Event[Any]], using: str) -> Sequence[Event[Any]]:
    """Insert the events' marks; return the events that had none. Of two equal events the first counts."""
    marks = {mark.key: event for event in reversed(events) for mark in [mark_of(event)]}
    try:
        new = ProcessedEvent.objects.mark_processed([mark_of(event) for event in events], using)
    except OperationalError as error:
        raise _NotNow(error) from error
    if crash_points.armed:
        crash_points.reached("processed-row-inserted")
    fresh = {id(marks[key]) for key in new}
    return [event for event in events if id(event) in fresh]


def _call_in_transaction(handler: Handler, events: Sequence[Event[Any]], using: str) -> None:
    connection: BaseDatabaseWrapper = connections[using]
    driver = connection.connection
    with in_database_of_handler(using):
        _call(handler, events)
    check_unbroken(connection, driver, str(handler))


def _call(handler: Handler, events: Sequence[Event[Any]]) -> None:
    for event in events:
        function: Callable[..., object] = handler.function
        result = function(event)
        if isinstance(result, (Awaitable, Generator, AsyncGenerator)):
            raise TypeError(f"Handler {handler} returned {result!r:.80}, which nobody runs. Make it a plain function.")
    if crash_points.armed:
        crash_points.reached("handler-returned")


class _NotNow(Exception):
    """Carries the reason why an attempt could not take place out of its transaction."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__(str(reason))
        self.reason = reason


def failed(error: BaseException, record: ReceivedRecord) -> Failed:
    """The handler is at fault with this record. Keeps no traceback alive beyond its text and the error itself."""
    return Failed(error, describe(error, record))


def _failure(error: BaseException, record: ReceivedRecord) -> Outcome:
    """Whose fault it is. If a new connection works at once, a database error counts for the handler."""
    if isinstance(error, _NotNow):
        return Postponed(error.reason)
    if _is_about_connections(error) and not works(router.db_for_write(ProcessedEvent)):
        return Postponed(error)
    return failed(error, record)


def _is_about_connections(error: BaseException | None) -> bool:
    """Whether the error, or what it came from, is one that a database which is away would cause."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, (OperationalError, InterfaceError)):
            return True
        seen.add(id(error))  # "raise error from error" makes a circle
        error = error.__cause__ or error.__context__
    return False


def _tell(handler: Handler, events: Sequence[Event[Any]], seconds: float) -> None:
    for event in events:
        try:
            signals.event_handled.send_robust(sender=handler.function, event=event, seconds=seconds)
        except BaseException:  # a receiver that wants to end the process: the effects are committed all the same
            logger.exception("A receiver of event_handled failed")
