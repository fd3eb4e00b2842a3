"""The thread of a group that has its dead letters tried again when they are due. The table is its clock."""

import logging
import queue
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import DataError, IntegrityError, connections
from django.db import Error as DatabaseError

from django_events import crash_points, metrics, repeats
from django_events.connections import prepare_connections
from django_events.consuming.announcing import tell_letter_failed
from django_events.consuming.calls import Call
from django_events.consuming.letter_policy import tried
from django_events.consuming.letters import database_of_letters, handler_of, letter_record
from django_events.consuming.naming import name_at
from django_events.consuming.outcome import Failed
from django_events.consuming.slowness import Slowness, hangs
from django_events.consuming.workers import Result, Unit, Workers
from django_events.handlers import ConsumerGroup
from django_events.log_fields import fields
from django_events.models import DeadLetter, Tried
from django_events.retry import Backoff
from django_events.trouble import Trouble

logger = logging.getLogger("django_events.dead_letters")

WORKERS = 2
"""Threads that run handlers with dead letters, beside those of the live events, so that neither waits for the other."""

LOOK = 1.0
"""Seconds between two looks for letters that are due: one cheap query."""

LONGEST_WAIT = 0.2
"""Seconds that this thread waits for a result: how late it may notice a stop."""

LEASE = 30.0
"""Seconds that a killed or frozen process keeps a letter. A running one renews its lease."""

OUTAGE = Backoff(first=0.5, max=10.0)
"""Seconds between two tries while the database does not answer."""


@dataclass(frozen=True, slots=True, eq=False)
class Leased:
    """A letter that a worker has. A letter whose lease has ended may be leased a second time meanwhile."""

    letter: DeadLetter
    began: datetime


class LetterRetrier(threading.Thread):
    """Leases due letters, has their handlers run, and writes down what came of it, until it is stopped.

    Killed at any point, it loses nothing: the lease ends, and somebody else tries the letter. What an exactly-once
    handler has committed is then found done.
    """

    def __init__(self, group: ConsumerGroup) -> None:
        super().__init__(name=f"django-events-{group.name}-dead-letter-retrier", daemon=True)
        self.error: BaseException | None = None
        self.left_running = False
        """Whether handlers still ran when the time to stop was over. Read it after ``join``."""
        self._turned_at = float("-inf")
        self._group = group
        self._stopping = threading.Event()
        self._stop_deadline = float("inf")
        what = f"Looking for due dead letters of group {group.name}"
        self._trouble = Trouble("dead_letter_table", what, logger, OUTAGE, group=group.name)
        self._slowness = Slowness()
        self._running: set[Leased] = set()
        self._unsaved: deque[tuple[DeadLetter, Tried]] = deque()
        self._look_at = 0.0
        self._renew_at = 0.0

    def stop(self, timeout: float) -> None:
        """Take no more letters and let running handlers finish, for at most ``timeout`` seconds. Thread-safe,
        idempotent; returns at once."""
        self._stop_deadline = time.monotonic() + timeout
        self._stopping.set()

    @property
    def is_stuck(self) -> bool:
        """Whether this thread hangs, or a handler has been running for too long with a letter. Thread-safe."""
        return self._slowness.is_stuck or hangs(self._turned_at)

    @property
    def oldest_call(self) -> Call | None:
        """Which call of a handler had been running for longest, with a letter, a moment ago. Thread-safe."""
        return self._slowness.oldest

    @property
    def trouble(self) -> str:
        """What does not work at this moment; empty if all is well. Thread-safe."""
        return self._trouble.text

    def run(self) -> None:
        try:
            self._workers: Workers[Leased] = Workers(WORKERS, self.name)
            try:
                while not self._is_done():
                    self._turn()
                self.left_running = bool(self._running)
            finally:
                self._workers.stop(timeout=0.5)
        except BaseException as error:
            extra = fields(group=self._group.name)
            logger.exception("The retrier of the dead letters of group %s ended", self._group.name, extra=extra)
            self.error = error
        finally:
            connections.close_all()

    def _is_done(self) -> bool:
        if not self._stopping.is_set():
            return False
        return not (self._running or self._unsaved) or time.monotonic() >= self._stop_deadline

    def _turn(self) -> None:
        """Take what is due, wait for results, write them down."""
        now = self._turned_at = time.monotonic()
        try:
            if now >= self._trouble.until:
                self._save_what_is_known()
                self._renew_leases(now)
                self._take_due_letters(now)
                self._trouble.ended()
        except DatabaseError as error:
            connections[database_of_letters()].close()
            self._trouble.began(str(error).strip())
        self._collect(block=self._seconds_to_next_look())
        self._slowness.look_at_calls(self._workers.calls)

    def _seconds_to_next_look(self) -> float:
        """A stop is noticed in between, so the wait is short once it is wished. No look without a free worker."""
        if self._stopping.is_set():
            return 0.05
        if len(self._running) >= self._workers.count:
            return LONGEST_WAIT
        until = max(self._look_at, self._trouble.until)
        return min(max(until - time.monotonic(), 0.0), LONGEST_WAIT)

    def _collect(self, block: float) -> None:
        """Note the results that are there; wait up to ``block`` seconds for the first."""
        try:
            result = self._workers.results.get(timeout=block) if block else self._workers.results.get_nowait()
            while True:
                self._note(result)
                result = self._workers.results.get_nowait()
        except queue.Empty:
            return

    def _note(self, result: Result[Leased]) -> None:
        leased = result.subject
        self._running.remove(leased)
        (outcome,) = result.outcomes
        handler = handler_of(leased.letter)
        concluded = tried(outcome, handler, leased.letter, leased.began, _HOST)
        if isinstance(outcome, Failed):
            tell_letter_failed(leased.letter, handler, outcome, concluded)
        self._unsaved.append((leased.letter, concluded))
        self._look_at = 0.0  # the next letter of the key may be due, and a worker is free
        if crash_points.armed:
            crash_points.reached("dead-letter-tried")

    def _save_what_is_known(self) -> None:
        while self._unsaved:
            letter, result = self._unsaved[0]
            _conclude(letter, result)
            _say(letter, result)
            _count(letter, result)
            self._unsaved.popleft()

    def _renew_leases(self, now: float) -> None:
        if self._running and now >= self._renew_at:
            leases = [leased.letter.lease for leased in self._running if leased.letter.lease]
            DeadLetter.objects.renew(leases, LEASE, database_of_letters())
            self._renew_at = now + LEASE / 3  # not before it worked: after an outage it is the first thing to do

    def _take_due_letters(self, now: float) -> None:
        free = self._workers.count - len(self._running)
        if self._stopping.is_set() or now < self._look_at or not free:
            return
        prepare_connections()
        topics = {handler.name: [topic.name for topic in handler.topics] for handler in self._group.handlers}
        letters = DeadLetter.objects.lease(self._group.name, topics, free, LEASE, database_of_letters())
        if letters and crash_points.armed:
            crash_points.reached("dead-letter-leased")
        for letter in letters:
            leased = Leased(letter, datetime.now(UTC))
            self._running.add(leased)
            unit = Unit(leased, handler_of(letter), [letter_record(letter)], letter.attempts + 1)
            self._workers.submit(unit)
        if not letters:
            self._look_at = now + LOOK


def _conclude(letter: DeadLetter, result: Tried) -> None:
    """Write the result down. Raises DatabaseError only if it may be possible later."""
    try:
        if not DeadLetter.objects.conclude(letter, result, database_of_letters()):
            repeats.log(
                logger,
                logging.WARNING,
                (letter.group_name, letter.handler),
                "The lease of dead letter %s had ended before its handler did",
                letter.pk,
                extra=_fields(letter),
            )
    except (DataError, IntegrityError) as error:  # or no letter would ever be tried again
        repeats.log(
            logger,
            logging.ERROR,
            (letter.group_name, letter.handler),
            "What came of dead letter %s cannot be written down: %s. If it still exists, it is tried again when its "
            "lease has ended",
            letter.pk,
            str(error).strip(),
            extra=_fields(letter),
        )


def _say(letter: DeadLetter, result: Tried) -> None:
    handler = f"{letter.group_name}/{letter.handler}"
    event = name_at(f"{letter.topic}[{letter.partition}]@{letter.offset}", letter.event_id)
    if result.resolved:
        text = "Handler %s is done with dead letter %s (record %s)"
        repeats.log(logger, logging.INFO, handler, text, handler, letter.pk, event, extra=_fields(letter))
    elif result.counts:
        repeats.log(
            logger,
            logging.ERROR,
            (handler, result.exception, result.automatic),
            "Handler %s failed with dead letter %s (record %s, attempt %d), %s: %s",
            handler,
            letter.pk,
            event,
            letter.attempts + 1,
            f"next try in {result.delay:.0f} s" if result.automatic else "it waits for an operator",
            result.message,
            extra=_fields(letter),
        )


def _count(letter: DeadLetter, result: Tried) -> None:
    outcome = "resolved" if result.resolved else "failed" if result.counts else "postponed"
    metrics.LETTER_ATTEMPTS.of(letter.group_name, letter.handler, letter.topic, outcome).add()


def _fields(letter: DeadLetter) -> dict[str, Any]:
    return fields(
        event=letter.event_id,
        topic=letter.topic,
        partition=letter.partition,
        offset=letter.offset,
        group=letter.group_name,
        handler=letter.handler,
        attempt=letter.attempts + 1,
    )


_HOST = socket.gethostname()
