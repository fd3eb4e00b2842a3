"""One try of one handler with one or more events, in one transaction if it is exactly-once.

Runs in a worker's thread and touches no Kafka. Nothing that a handler does gets past it: it ends with all that the
events' handler has committed, or raises with nothing committed.
"""

import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeAlias

from django.db import InterfaceError, OperationalError, connections, router, transaction

from django_events import crash_points, repeats, tables, tracing
from django_events.conf import settings
from django_events.consuming.caller import Caller, tell_handled
from django_events.consuming.marks import mark_of
from django_events.consuming.outcome import Duplicate, Handled, NotBegun, Outcome, Postponed, failed
from django_events.consuming.tracing import call_among, traced
from django_events.consuming.transactions import check_unbroken, refusing_its_end, works
from django_events.events import Event
from django_events.exceptions import HandlerTransactionBroken
from django_events.failures import name_of
from django_events.handlers import Delivery, Handler
from django_events.kafka.record import ReceivedRecord
from django_events.logging import fields_of
from django_events.models import ProcessedEvent
from django_events.models.conflicts import Conflict, causes_of, conflict_of, may_work_at_once
from django_events.models.processed import PATIENCE
from django_events.producing.produce import in_database_of_handler, is_wake_up

logger = logging.getLogger("django_events.handlers")

CONFLICTS = 5
"""How often a transaction is tried again at once after a deadlock or a serialization failure, before it is a failure
of the handler: with several transactions in each other's way, one of them gets through each time."""

Events: TypeAlias = Sequence[Event[Any]]
P = ParamSpec("P")


@dataclass(slots=True)
class Attempt:
    """One try of a handler with these events: all of them at once, or as many of them as it is allowed."""

    caller: Caller
    """Of the handler."""
    events: Events
    go_on: Callable[[], bool] = field(default=lambda: True)
    """Asked after each event whether the transaction may take one more. Not with batches, which are one call."""
    again: bool = False
    """Whether an exactly-once handler is called also with what it has processed; the marks are then made anew."""
    patience: float = PATIENCE
    """Seconds for which a mark that another transaction has just inserted is waited for."""
    with_spans: bool = field(default_factory=lambda: bool(tracing.has_provider()))
    """Whether spans are made of it. Who makes many attempts asks once for all: to ask costs as much as a short call."""
    has_hook: bool = field(default=False, init=False)
    """Whether the handler has registered an on_commit hook of its own: then the transaction takes no more events."""
    _seconds: list[float] = field(default_factory=list)

    @property
    def handler(self) -> Handler:
        return self.caller.handler

    def outcomes(self) -> list[Outcome]:
        """Try it; one outcome for each event, in their order. Raises what the handler raised, with nothing committed,
        and NotNow if the try could not take place: ``Locked`` if that is about one of the marks."""
        return traced(self.handler, self.events, self._outcomes, with_spans=self.with_spans)

    def _outcomes(self) -> list[Outcome]:
        if self.handler.delivery is Delivery.EXACTLY_ONCE:
            return self._exactly_once()
        self._call(self.events)
        tell_handled(self.handler, self.events, self._seconds)
        return [HANDLED] * len(self.events)

    def _exactly_once(self) -> list[Outcome]:
        """Call the handler with the events that are not processed yet, in one transaction with their marks."""
        using = database_of(self.handler)
        committed: list[bool] = []
        fresh: Events = ()
        done = 0
        try:
            with transaction.atomic(using=using, durable=True):
                # The first hook, so it runs before any of the handler's that could raise.
                transaction.on_commit(lambda: committed.append(True), using=using)
                fresh = _mark(self.events, using, again=self.again, patience=self.patience)
                if fresh:
                    done = self._in_transaction(fresh, using)
        except BaseException as error:
            if not committed:
                raise
            # Success is the commit. What failed afterwards is an on_commit hook; trying again would repeat nothing.
            _say_hook_failed(self.handler, self.events, error)
        if not committed:
            raise HandlerTransactionBroken(
                f"Handler {self.handler} returned, but its transaction was not committed: it began a "
                "transaction.atomic() that it did not end. Use it in a with statement."
            )
        if crash_points.armed:
            crash_points.reached("handler-committed")
        tell_handled(self.handler, fresh[:done], self._seconds)
        return _as_outcomes(self.events, fresh, done)

    def _in_transaction(self, fresh: Events, using: str) -> int:
        """Call the handler; return how many of the events it is done with. The others lose their marks again."""
        driver = connections[using].connection
        with in_database_of_handler(using), refusing_its_end(connections[using], self.handler):
            if self.handler.calling.batch:
                self._call(fresh)
                done = len(fresh)
                check_unbroken(connections[using], driver, self.handler)
            else:
                done = self._one_after_the_other(fresh, using, driver)
        if done < len(fresh):
            ProcessedEvent.objects.unmark([mark_of(event).key for event in fresh[done:]], using)
        return done

    def _one_after_the_other(self, fresh: Events, using: str, driver: Any) -> int:
        hooks = len(connections[using].run_on_commit)
        for done, event in enumerate(fresh, start=1):
            with call_among(self.handler, event, self.events, with_spans=self.with_spans):
                self._call([event])
            connection = connections[using]  # asked for again: the handler may have replaced it
            check_unbroken(connection, driver, self.handler)
            new_hooks = connection.run_on_commit[hooks:]
            self.has_hook = bool(new_hooks) and _is_of_handler(new_hooks)
            if self.has_hook or not self.go_on():
                return done
            hooks = len(connection.run_on_commit)
        return len(fresh)

    def _call(self, events: Events) -> None:
        self._seconds.append(self.caller.call(events))


class NotNow(Exception):
    """Carries the reason why an attempt could not take place out of its transaction."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Locked(NotNow):
    """Another transaction, whose end was not waited for, has inserted the mark of one of the events."""


HANDLED, DUPLICATE, NOT_BEGUN = Handled(), Duplicate(), NotBegun()


def attempt(try_it: Callable[P, list[Outcome]], *what: P.args, **how: P.kwargs) -> list[Outcome]:
    """Have it tried, again at once after a deadlock or a serialization failure: with its events made anew, as the
    handler may have changed them. Returns what ``try_it`` does: one outcome for each; raises what it raises."""
    for _ in range(CONFLICTS):
        try:
            return try_it(*what, **how)
        except BaseException as error:
            if not may_work_at_once(error):
                raise
    return try_it(*what, **how)


def database_of(handler: Handler) -> str:
    """The alias of the database in which this handler's marks are."""
    return handler.calling.using or router.db_for_write(ProcessedEvent)


def outcome_of(error: BaseException, handler: Handler, record: ReceivedRecord) -> Outcome:
    """Whose fault it is. If a new connection works at once, a database error counts for the handler; also where we
    touch no database."""
    if isinstance(error, NotNow):
        return Postponed(error.reason)
    if _is_about_connections(error) and not (tables.there_are_none() or works(database_of(handler))):
        return Postponed(error)
    return failed(error, record)


def _mark(events: Events, using: str, *, again: bool, patience: float) -> Events:
    """Insert the events' marks; return the events that had none, or all. Of two equal events the first counts."""
    marks = [mark_of(event) for event in events]
    try:
        new = ProcessedEvent.objects.mark_processed(marks, using, again=again, patience=patience)
    except OperationalError as error:
        # Without locks of rows it is about the whole database, whichever event it is.
        is_locked = connections[using].features.has_select_for_update and conflict_of(error) is Conflict.LOCK_TIMEOUT
        raise (Locked if is_locked else NotNow)(error) from error
    if crash_points.armed:
        crash_points.reached("processed-row-inserted")
    fresh = []
    for event, mark in zip(events, marks, strict=True):
        if mark.key in new:
            new.discard(mark.key)
            fresh.append(event)
    return fresh


def _as_outcomes(events: Events, fresh: Events, done: int) -> list[Outcome]:
    """The outcome of each event: the transaction ended before the first of the fresh that it is not done with."""
    if done == len(fresh) == len(events):
        return [HANDLED] * done
    position = {id(event): at for at, event in enumerate(fresh)}
    outcomes: list[Outcome] = []
    for at, event in enumerate(events):
        place = position.get(id(event))
        if place is not None and place >= done:
            return outcomes + [NOT_BEGUN] * (len(events) - at)
        outcomes.append(DUPLICATE if place is None else HANDLED)
    return outcomes


def _is_of_handler(hooks: Sequence[Any]) -> bool:
    """Whether one of these on_commit hooks is the handler's own, and not that of an event that it sends."""
    return any(not is_wake_up(hook) for _, hook, *_ in hooks)


def _say_hook_failed(handler: Handler, events: Events, error: BaseException) -> None:
    text = "An on_commit hook of handler %s failed after its effects were committed"
    arguments: tuple[object, ...]
    shown: BaseException | None
    if settings.REDACT:  # the error's text may hold what is hidden
        where = "".join(traceback.format_tb(error.__traceback__)).rstrip()
        text, arguments, shown = f"{text}: %s\n%s", (handler, name_of(type(error)), where), None
    else:
        arguments, shown = (handler,), error
    kind = (handler.group, handler.name, type(error))
    repeats.log(logger, logging.ERROR, kind, text, *arguments, exc_info=shown, extra=fields_of(events))


def _is_about_connections(error: BaseException | None) -> bool:
    """Whether the error, or what it came from, is one that a database which is away would cause."""
    return any(isinstance(each, OperationalError | InterfaceError) for each in causes_of(error))
