"""One broadcast handler in this process: the thread that queues its events, hands them out, and keeps the clock.

It alone touches the queues. The reader gives it records and workers give it results, both through one inbox.
"""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Collection
from typing import Any, TypeAlias

from django.db import connections

from django_events import metrics, repeats
from django_events.broadcasting import BroadcastHandler
from django_events.connections import drop_open_transactions, prepare_connections
from django_events.consuming import slowness
from django_events.consuming.announcing import say_what_follows
from django_events.consuming.calls import Call
from django_events.consuming.concluding import conclude
from django_events.consuming.handing_out import HandingOut
from django_events.consuming.metrics import forget_handlers, tell_of_handlers
from django_events.consuming.offsets import Progress
from django_events.consuming.outcome import Outcome
from django_events.consuming.policy import Again, Discarded, decide
from django_events.consuming.queues import Queues
from django_events.consuming.slowness import Slowness
from django_events.consuming.work import Work
from django_events.consuming.workers import Result, Workers
from django_events.following.gap import Gap
from django_events.kafka.record import Partition, ReceivedRecord
from django_events.log_fields import fields
from django_events.retry import Backoff

logger = logging.getLogger("django_events.broadcast")

IN_HAND = 1_000
"""Events that one handler may have in hand; above, it gets no more until it has handled some."""

WORKERS = 3
"""Threads that call one handler, unless it says how many batches run at once: with few, a slow key does not hold up the
others, and many handlers do not make many threads."""

GAP_AGAIN = Backoff(first=1.0, max=30.0)
"""Seconds between two tries of ``on_gap``: until it has worked, the handler may know what is not true any more."""

SECOND = 1.0
"""Seconds between two looks at what takes long."""

Arrived: TypeAlias = tuple[ReceivedRecord | Gap, float]
"""What the reader has given, and the moment (time.monotonic) at which it has."""


class BroadcastThread(threading.Thread):
    """Runs one broadcast handler until it is stopped. A feed of a reader. ``error`` is what ended it otherwise."""

    def __init__(self, declared: BroadcastHandler) -> None:
        super().__init__(name=f"django-events-broadcast-{declared.name}", daemon=True)
        self.declared = declared
        self.error: BaseException | None = None
        self.dropped = 0
        """Events that were given up after failures. Other threads may read it."""
        self.left_running = False
        """Whether the handler still ran when the time to stop was over. Read it after ``join``."""
        self._handler = declared.handler
        self._inbox: queue.SimpleQueue[Arrived | Result[list[Work]] | None] = queue.SimpleQueue()
        self._arrived: deque[Arrived] = deque()
        self._queues = Queues()
        self._progress: dict[Partition, Progress] = {}
        self._slowness = Slowness()
        self._look_due = 0.0
        self._stopping = threading.Event()
        self._stop_deadline = float("inf")
        self._given = 0  # written by the reader's thread alone
        self._done = 0  # written by this thread alone
        self._oldest: float | None = None
        self._gap_since: float | None = None

    def __str__(self) -> str:
        return f"Handler {self.declared}"

    # ── from other threads ───────────────────────────────────────────────────────────────────────────────────────

    @property
    def topics(self) -> Collection[str]:
        """The topics whose records it wants."""
        return self._handler.sources

    @property
    def is_full(self) -> bool:
        """Whether it has as much in hand as it may have. For the reader's thread."""
        return self._given - self._done >= IN_HAND

    def add(self, record: ReceivedRecord) -> None:
        """The next record; returns at once. For the reader's thread."""
        self._given += 1
        self._inbox.put((record, time.monotonic()))

    def missed(self, gap: Gap) -> None:
        """Here something is missing; returns at once. For the reader's thread."""
        self._given += 1
        self._inbox.put((gap, time.monotonic()))

    @property
    def latency(self) -> float:
        """Seconds since the oldest event came that it is not done with; 0 if there is none, infinite if the thread does
        not run. Thread-safe."""
        if not self.is_alive():
            return float("inf")
        oldest = self._oldest
        return 0.0 if oldest is None else time.monotonic() - oldest

    @property
    def is_stuck(self) -> bool:
        """Whether a call of the handler, or of its ``on_gap``, has been running for too long. Thread-safe."""
        since = self._gap_since
        return self._slowness.is_stuck or (since is not None and time.monotonic() - since > slowness.LONG)

    @property
    def oldest_call(self) -> Call | None:
        """Which call of the handler had been running for longest at the last look. Thread-safe."""
        return self._slowness.oldest

    def stop(self, timeout: float) -> None:
        """Begin nothing more, let what runs finish for at most ``timeout`` seconds. Returns at once; then ``join``."""
        self._stop_deadline = time.monotonic() + timeout
        self._stopping.set()
        self._inbox.put(None)

    # ── the thread ───────────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        try:
            self._run_handler()
        except BaseException as error:
            text, extra = "Handler %s gets no more events, for an error that is not its own", self._fields()
            logger.exception(text, self._handler, extra=extra)
            self.error = error
        finally:
            connections.close_all()

    def _run_handler(self) -> None:
        """Until the stop. An error in between ends it: what it knows of its events may be wrong then."""
        batch = self._handler.calling.batch
        self._workers: Workers[list[Work]] = Workers(
            batch.parallel if batch else WORKERS, self.name, deliver=self._inbox.put
        )
        self._handing_out = HandingOut([self._handler], self._queues, self._workers, has_crews=False)
        try:
            while not self._stopping.is_set():
                self._turn()
            self._let_finish()
        finally:
            self._workers.stop(timeout=0.5)
        forget_handlers([self._handler])

    def _turn(self) -> None:
        """One round of everything."""
        self._take_in(self._seconds_to_next())
        self._take_on()
        now = time.monotonic()
        self._queues.wake(now)
        self._handing_out.hand_out(now)
        self._note_oldest()
        if now >= self._look_due:
            self._look_due = now + SECOND
            self._slowness.look_at_calls(self._workers.calls)
            self._slowness.look_at_offsets(self._progress.values(), self._queues)
            tell_of_handlers([self._handler], self._queues, self._handing_out, self._workers.calls)

    def _let_finish(self) -> None:
        """Let what runs finish. What was not begun is not handled: the process ends."""
        while self._handing_out.out and (left := self._stop_deadline - time.monotonic()) > 0:
            self._take_in(left)
        self.left_running = bool(self._handing_out.out)

    def _seconds_to_next(self) -> float:
        """Until a retry is due, a batch need not be full any more, or it is time to look at what takes long."""
        moments = [self._queues.next_due(), self._handing_out.next_batch_due(), self._look_due]
        return max(min(moment for moment in moments if moment is not None) - time.monotonic(), 0.0)

    def _take_in(self, timeout: float) -> None:
        """Take what is in the inbox; wait up to ``timeout`` seconds for the first."""
        try:
            item = self._inbox.get(timeout=timeout) if timeout else self._inbox.get_nowait()
            while True:
                if isinstance(item, Result):
                    conclude(item, self._queues, self._handing_out, self._finished, self._follow)
                elif item is not None:
                    self._arrived.append(item)
                item = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _take_on(self) -> None:
        """Queue what has arrived. A gap comes when all is done that came before it, and before all that comes after."""
        while self._arrived and not self._stopping.is_set():
            item, at = self._arrived[0]
            if isinstance(item, Gap):
                if self._in_hand:
                    return
                self._bridge(item, at)
            else:
                progress = self._progress.setdefault(item.partition, Progress(item.partition))
                self._queues.add(Work(self._handler, item, progress, progress.started(item.offset, 1)), at)
            self._arrived.popleft()

    @property
    def _in_hand(self) -> bool:
        return any(progress.oldest for progress in self._progress.values())

    def _note_oldest(self) -> None:
        moments = [oldest.since for progress in self._progress.values() if (oldest := progress.oldest)]
        moments += [at for _, at in [*self._arrived][:1]]
        self._oldest = min(moments, default=None)

    # ── results ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _follow(self, work: Work, outcome: Outcome, now: float) -> float | None:
        """Do what follows from an outcome that is no success. The seconds until the next try; None if it was the
        last."""
        decision = decide(outcome, self._handler.policy, work.tries(now))
        say_what_follows(work, outcome, decision)
        self.dropped += isinstance(decision, Discarded)
        if not isinstance(decision, Again):
            return None
        if decision.counts:
            work.failed(now)
        else:
            work.postponed(decision.delay, now)
        return decision.delay

    def _finished(self, work: Work) -> None:
        work.progress.finished(work.in_hand)
        self._done += 1

    # ── gaps ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _bridge(self, gap: Gap, at: float) -> None:
        """Tell the handler that events may be missing, until it has understood. Nothing else of it runs meanwhile."""
        metrics.BROADCAST_GAPS.of(self.declared.name).add()
        text = "Handler %s may have missed events: Kafka has no longer %s"
        logger.warning(text, self._handler, gap, extra=self._fields(gap))
        self._oldest = at
        failures = 0
        while self.declared.on_gap and not self._stopping.is_set() and not self._told(gap):
            failures += 1
            self._stopping.wait(GAP_AGAIN.delay(failures))
        self._done += 1

    def _told(self, gap: Gap) -> bool:
        assert self.declared.on_gap
        self._gap_since = time.monotonic()
        try:
            prepare_connections()
            self.declared.on_gap(gap)
        except BaseException as error:  # SystemExit is a failure of the function, not the end of this thread
            text = "on_gap of handler %s failed; it is tried again, and its events wait"
            repeats.log(
                logger,
                logging.ERROR,
                self._handler.name,
                text,
                self._handler,
                exc_info=error,
                extra=self._fields(gap),
            )
            return False
        finally:
            self._gap_since = None
            drop_open_transactions()
        return True

    def _fields(self, gap: Gap | None = None) -> dict[str, Any]:
        place = fields(topic=gap.topic, partition=gap.partition, offset=gap.start) if gap else {}
        return place | fields(handler=self._handler.name)
