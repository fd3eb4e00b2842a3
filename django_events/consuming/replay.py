"""One handler and the records of the past, one after the other: what is processed is passed over, what fails is told.

Knows no consumer group: nothing is committed, and the live group neither waits nor notices.
"""

import uuid
from collections.abc import Collection, Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import TypeAlias

from django.db import Error as DatabaseError
from django.db import connections

from django_events import cloudevents
from django_events.connections import drop_open_transactions, prepare_connections
from django_events.consuming.attempt import Attempt, attempt, database_of, outcome_of
from django_events.consuming.caller import Caller
from django_events.consuming.failure_report import FailureReport, describe
from django_events.consuming.marks import mark_key
from django_events.consuming.outcome import Duplicate, Failed, Handled, Outcome
from django_events.consuming.policy import POSTPONE
from django_events.consuming.reading import first_record, read_event
from django_events.consuming.trying import queue_name
from django_events.exceptions import BatchItemError, DecodeError, IgnoreError
from django_events.handlers import Delivery, Handler
from django_events.kafka.record import Partition, ReceivedRecord
from django_events.models import ProcessedEvent
from django_events.stopping import Stop

AT_ONCE = 500
"""Records whose marks are looked up by one query."""

TRIES = 3
"""How often a handler is tried with a record before that counts as failed, unless it asks for fewer."""

Place: TypeAlias = tuple[Partition, int]
"""Partition and offset."""


class Verdict(Enum):
    """What became of one record."""

    HANDLED = "handled"
    """The handler took effect; in a dry run: it would be called."""
    SKIPPED = "skipped"
    """An exactly-once handler has processed it already."""
    PASSED_OVER = "passed over"
    """The handler raised IgnoreError."""
    FAILED = "failed"
    """The handler, or the record, is at fault."""
    HELD_BACK = "held back"
    """An older record of its key has failed; the handler was not called."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """One record, and what became of it. Immutable."""

    record: ReceivedRecord
    verdict: Verdict
    report: FailureReport | None = None
    """What went wrong, if it failed."""


class Replay:
    """Runs one handler over records. Owned by one thread, in which the handler runs."""

    def __init__(self, handler: Handler, stop: Stop, *, again: bool = False, dry_run: bool = False) -> None:
        """With ``again`` the handler is called also with what it has processed; in a dry run it is never called."""
        self._handler = handler
        self._stop = stop
        self._again = again
        self._dry_run = dry_run
        self._failed: set[Hashable] = set()

    def run(self, records: Iterator[ReceivedRecord]) -> Iterator[Replayed]:
        """What becomes of each record, in their order, until the stop. Blocks while the handler runs, and while the
        database does not answer. What ``records`` raises is raised."""
        while chunk := list(islice(records, AT_ONCE)):
            processed = self._processed(chunk)
            for record in chunk:
                replayed = None if self._stop.is_set() else self._replay(record, record[:2] in processed)
                if replayed is None:
                    return
                yield replayed

    def _replay(self, record: ReceivedRecord, is_processed: bool) -> Replayed | None:
        """None if the stop came before the end of it."""
        if is_processed:
            return Replayed(record, Verdict.SKIPPED)
        if queue_name(self._handler, record) in self._failed:
            return Replayed(record, Verdict.HELD_BACK)
        replayed = self._rehearse(record) if self._dry_run else self._try(record)
        if replayed and replayed.verdict is Verdict.FAILED:
            self._failed.add(queue_name(self._handler, record))
        return replayed

    def _rehearse(self, record: ReceivedRecord) -> Replayed:
        try:
            read_event(self._handler, record, attempt=1)
        except Exception as error:
            return Replayed(record, Verdict.FAILED, describe(error, record))
        return Replayed(record, Verdict.HANDLED)

    def _try(self, record: ReceivedRecord) -> Replayed | None:
        number, delays = 1, 0
        while not self._stop.is_set():
            match self._attempt(record, number):
                case Handled():
                    return Replayed(record, Verdict.HANDLED)
                case Duplicate():
                    return Replayed(record, Verdict.SKIPPED)
                case Failed(error=IgnoreError()):
                    return Replayed(record, Verdict.PASSED_OVER)
                case Failed(error=error, report=report):
                    if number >= self._tries or self._handler.policy.is_hopeless(error):
                        return Replayed(record, Verdict.FAILED, report)
                    self._stop.wait(self._handler.policy.backoff.delay(number))
                    number += 1
                case _:  # it could not take place
                    delays += 1
                    self._stop.wait(POSTPONE.delay(delays))
        return None

    @property
    def _tries(self) -> int:
        return min(TRIES, self._handler.policy.attempts or TRIES)

    def _attempt(self, record: ReceivedRecord, number: int) -> Outcome:
        try:
            prepare_connections()
            (outcome,) = attempt(self._once, record, number)
            return outcome
        except BaseException as error:  # SystemExit in a handler is a failure of the handler, not the end of a replay
            return outcome_of(error.cause if isinstance(error, BatchItemError) else error, self._handler, record)
        finally:
            drop_open_transactions()

    def _once(self, record: ReceivedRecord, number: int) -> list[Outcome]:
        event = read_event(self._handler, record, number)
        return Attempt(Caller(self._handler), [event], again=self._again).outcomes()

    def _processed(self, records: Sequence[ReceivedRecord]) -> Collection[Place]:
        """Where those are that the handler has processed. Only saves time: ``attempt`` looks again."""
        if self._again or self._handler.delivery is not Delivery.EXACTLY_ONCE:
            return ()
        keys = {record[:2]: key for record in records for key in _mark_keys(self._handler, record)}
        using = database_of(self._handler)
        try:
            found = ProcessedEvent.objects.processed(set(keys.values()), using)
        except DatabaseError:
            if self._dry_run:
                raise
            connections[using].close()
            return ()
        return {place for place, key in keys.items() if key in found}


def _mark_keys(handler: Handler, record: ReceivedRecord) -> Iterator[uuid.UUID]:
    """The key of the handler's mark of this record; nothing if it cannot be read."""
    with suppress(DecodeError):
        identity = cloudevents.identity(first_record(handler, record), cloudevents.decode(record))
        yield mark_key(identity, handler.group, handler.name)
