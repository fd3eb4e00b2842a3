"""How a worker tries a unit: together where that is cheaper, alone where one event must not cost the others."""

import time
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

from django_events import metrics, tracing
from django_events.connections import tidy_connections
from django_events.consuming.attempt import HANDLED, NOT_BEGUN, Attempt, Events, Locked, attempt, outcome_of
from django_events.consuming.caller import Caller, tell_handled
from django_events.consuming.outcome import Failed, Outcome, Postponed, failed
from django_events.consuming.reading import read_event
from django_events.consuming.sharing import LONGEST, Sharing
from django_events.events import Event
from django_events.exceptions import BatchItemError
from django_events.handlers import Delivery, Handler
from django_events.kafka.record import ReceivedRecord
from django_events.models.conflicts import conflict_of
from django_events.models.processed import PATIENCE

IMPATIENCE = 0.05
"""Seconds for which the marks of events are waited for that others hold, once that was in vain for one of them."""

READING = 1 / 2
"""Of the time that a unit has left: for so long events are read before the first of them is handled. That is quicker
than in turn: what reads and what handles would drive each other out of the processor's cache. But what is read and not
begun is read again, so a slow codec must not use up all of the time."""

MOST_WAITS = 40
"""So often; enough for the search for four locked events of a thousand. After that, parts with one wait as a whole."""


def queue_name(handler: Handler, record: ReceivedRecord) -> Hashable:
    """What the records have in common of which this handler gets one after the other. Without a key, or without
    order, each is alone."""
    if record.key is None or not handler.calling.ordered:
        return (handler.name, record.partition, record.offset)
    return (handler.name, record.partition.topic, record.key)


_NO_SUCCESSES = (Failed, Postponed)  # a union, written where it is asked for, would be made for each event


class Trial:
    """One unit at one worker. Ends with an outcome for each record; nothing is raised."""

    def __init__(
        self,
        handler: Handler,
        records: Sequence[ReceivedRecord],
        number: int,
        sharing: Sharing,
        may_begin: Callable[[int], bool],
        *,
        has_waited: bool = False,
    ) -> None:
        """``number``: which attempt it is, from 1. ``may_begin``: whether the record at this position may be begun.
        ``has_waited``: whether a try of one of the records could not take place, as when others hold its mark."""
        self._handler = handler
        self._records = records
        self._number = number
        self._sharing = sharing
        self._may_begin = may_begin
        self._outcomes: list[Outcome] = [NOT_BEGUN] * len(records)
        self._events: dict[int, Event[Any]] = {}
        """Those that have been read, and not given to the handler yet."""
        self._unreadable: dict[int, Failed] = {}
        self._held: dict[Hashable, int] = {}
        self._until = time.monotonic() + LONGEST
        self._has_begun = False
        self._waits = int(has_waited)
        self._caller = Caller(handler, sharing)
        self._has_hook = False
        """Whether the handler has registered an on_commit hook, when it was last tried alone."""
        self._with_spans = bool(tracing.has_provider())
        self._is_plain = handler.delivery is not Delivery.EXACTLY_ONCE and not self._with_spans

    def outcomes(self) -> list[Outcome]:
        """Try it; one outcome for each record, in their order."""
        if self._handler.calling.batch:
            self._batch(list(range(len(self._records))))
        elif len(self._records) > 1 and self._handler.shares_transactions:
            self._in_shared_transactions()
        else:
            self._one_by_one(range(len(self._records)))
        metrics.HANDLER_DURATION.of(self._handler.group, self._handler.name).observe_all(self._caller.seconds)
        return self._outcomes

    # ── one by one ───────────────────────────────────────────────────────────────────────────────────────────────

    def _one_by_one(self, positions: Sequence[int]) -> None:
        """Try each alone, until the time is over."""
        self._read_ahead(positions)
        for at in positions:
            if self._has_begun and not self._has_time():
                return
            if self._is_ready(at):
                self._has_begun = True
                self._alone(at)

    def _alone(self, at: int) -> None:
        try:
            (outcome,) = attempt(self._single, at)
        except BaseException as error:  # SystemExit in a handler is a failure of the handler, not the end of a worker
            self._waits += isinstance(error, Locked)
            outcome = outcome_of(error, self._handler, self._records[at])
        finally:
            tidy_connections()  # for the next one, too
        self._came_out(at, outcome)

    def _single(self, at: int) -> list[Outcome]:
        """Where there is no transaction, no span and no trace, there is nothing to an attempt but the call: it is left
        out, as it would cost more than a short call itself."""
        events = self._given([at])
        if self._is_plain and not (events[0].headers and tracing.is_there):
            tell_handled(self._handler, events, [self._caller.call(events)])
            return [HANDLED]
        tried = self._attempt(events)
        outcomes = tried.outcomes()
        self._has_hook = tried.has_hook
        return outcomes

    # ── several in one transaction ───────────────────────────────────────────────────────────────────────────────

    def _in_shared_transactions(self) -> None:
        """As many as fit share a transaction, then the next, until the time is over."""
        rest = list(range(len(self._records)))
        while rest and (self._has_time() or not self._has_begun):
            size = self._read_ahead(rest[: 1 if self._sharing.is_apart else self._fitting()])
            chosen, rest = rest[:size], rest[size:]
            ready = [at for at in chosen if self._is_ready(at)]
            if len(ready) == 1:
                self._one_by_one(ready)
                if self._outcomes[ready[0]] is HANDLED:
                    self._sharing.committed(1, by_hook=self._has_hook)
            elif ready:
                self._share(ready)
            # What a transaction has left is next, before all that comes after it.
            rest = [at for at in ready if self._outcomes[at] is NOT_BEGUN and not self._is_held(at)] + rest

    def _fitting(self) -> int:
        """How many events the next transaction is to have: as many as fit into what is left of the time."""
        return min(self._sharing.most, self._sharing.fitting(self._until - time.monotonic()))

    def _share(self, positions: list[int]) -> None:
        self._has_begun = True
        shared = self._attempt(self._given(positions))
        outcomes, error = self._tried(shared.outcomes)
        if error is not None:  # all is rolled back: alone it shows which of them it was
            self._sharing.failed(is_conflict=conflict_of(error) is not None)
            tidy_connections()
            self._until = time.monotonic() + LONGEST
            self._one_by_one(positions)
            return
        done = sum(outcome is not NOT_BEGUN for outcome in outcomes)
        self._sharing.committed(done, by_hook=shared.has_hook)
        for at, outcome in zip(positions, outcomes, strict=True):
            self._outcomes[at] = outcome

    # ── batches ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _batch(self, positions: list[int]) -> None:
        """Try these in one call. What fails is halved until the culprits are alone; each part is committed by itself,
        in order. A culprit that the handler names is left out at once. What holds events whose marks other
        transactions have is halved, too, so that only those events wait."""
        parts = [positions]
        while parts:
            ready = [at for at in parts.pop() if self._is_ready(at)]
            if not ready:
                continue
            outcomes, error = self._tried(partial(attempt, self._listed, ready))
            if error is None:
                for at, outcome in zip(ready, outcomes, strict=True):
                    self._outcomes[at] = outcome
            else:
                tidy_connections()
                parts += reversed(self._after_failure(ready, error))

    def _listed(self, positions: list[int]) -> list[Outcome]:
        return self._attempt(self._given(positions)).outcomes()

    def _after_failure(self, positions: list[int], error: BaseException) -> list[list[int]]:
        """What is to be tried next of a list that failed, in order."""
        named = self._named(positions, error)
        if named is not None:
            cause = error.cause if isinstance(error, BatchItemError) else error
            self._came_out(named, outcome_of(cause, self._handler, self._records[named]))
            return [[at for at in positions if at != named]]
        outcome = outcome_of(error, self._handler, self._records[positions[0]])
        may_part = not isinstance(outcome, Postponed) or (isinstance(error, Locked) and self._waits <= MOST_WAITS)
        if len(positions) == 1 or not may_part:
            for at in positions:
                self._came_out(at, outcome)
            return []
        half = (len(positions) + 1) // 2
        return [positions[:half], positions[half:]]

    def _named(self, positions: list[int], error: BaseException) -> int | None:
        """The position of the event that the handler says is at fault, found by its place in Kafka: whether events are
        equal would be up to their payloads."""
        if not isinstance(error, BatchItemError) or not isinstance(error.event, Event):
            return None
        place = (error.event.topic, error.event.partition), error.event.offset
        return next((at for at in positions if self._records[at][:2] == place), None)

    # ── what all have in common ──────────────────────────────────────────────────────────────────────────────────

    def _attempt(self, events: Events) -> Attempt:
        return Attempt(
            self._caller,
            events,
            self._has_time,
            patience=IMPATIENCE if self._waits else PATIENCE,
            with_spans=self._with_spans,
        )

    def _tried(self, try_it: Callable[[], list[Outcome]]) -> tuple[list[Outcome], BaseException | None]:
        """The outcomes, or what was raised: whatever is tried next must not be raised "during the handling" of that."""
        try:
            return try_it(), None
        except BaseException as error:
            self._waits += isinstance(error, Locked)
            return [], error

    def _has_time(self) -> bool:
        return time.monotonic() < self._until

    def _given(self, positions: Sequence[int]) -> list[Event[Any]]:
        """The events for a call. They are given once: the handler may change them, so for another call they are read
        again."""
        given: list[Event[Any]] = []
        for at in positions:
            event: Event[Any] | None = self._events.pop(at, None)
            given.append(event or read_event(self._handler, self._records[at], self._number))
        return given

    def _is_ready(self, at: int) -> bool:
        """Whether this record may be tried now: it is ours, can be read, and none before it in its queue has failed."""
        if self._is_held(at):
            return False
        if not self._may_begin(at):
            self._hold(at)
            return False
        if at not in self._events:
            self._read(at)
        if at in self._events:
            return True
        if self._is_behind_another(at):  # of a queue only the first may have failed, or it would fail twice
            self._hold(at)
        else:
            self._came_out(at, self._unreadable[at])
        return False

    def _read_ahead(self, positions: Sequence[int]) -> int:
        """Make these events, as many as there is time for; how many that are."""
        now = time.monotonic()
        until = now + max(self._until - now, 0.0) * READING
        for count, at in enumerate(positions, start=1):
            if at not in self._events and self._may_begin(at) and not self._is_held(at):
                self._read(at)
            if time.monotonic() >= until:
                return count
        return len(positions)

    def _read(self, at: int) -> None:
        """Make the event, unless that was in vain before."""
        if at not in self._unreadable:
            try:
                self._events[at] = read_event(self._handler, self._records[at], self._number)
            except BaseException as error:
                self._unreadable[at] = failed(error, self._records[at])

    def _came_out(self, at: int, outcome: Outcome) -> None:
        """Note the outcome. What comes after a failure in the same queue is not begun."""
        self._outcomes[at] = outcome
        if isinstance(outcome, _NO_SUCCESSES):
            self._hold(at)

    def _hold(self, at: int) -> None:
        name = queue_name(self._handler, self._records[at])
        self._held[name] = min(at, self._held.get(name, at))

    def _is_behind_another(self, at: int) -> bool:
        """Whether one of its queue that stands before it is not done with yet."""
        name = queue_name(self._handler, self._records[at])
        before = (each for each in range(at) if self._outcomes[each] is NOT_BEGUN)
        return any(queue_name(self._handler, self._records[each]) == name for each in before)

    def _is_held(self, at: int) -> bool:
        """Whether it comes after one of its queue that is not done with, or is that one."""
        if not self._held:
            return False
        return at >= self._held.get(queue_name(self._handler, self._records[at]), len(self._records))
