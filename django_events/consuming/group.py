"""One consumer group in this process: the thread that polls, queues, hands out, collects, commits and keeps the clock.

It alone touches the Kafka consumer and the offsets. Workers get works and give results, so nothing here needs a lock.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from django.db import connections

from django_events import crash_points
from django_events.consuming.announcing import say_what_follows
from django_events.consuming.attempt import Outcome
from django_events.consuming.letter_writer import LetterWriter
from django_events.consuming.offsets import Progress
from django_events.consuming.policy import Again, Buried, Discarded, Done, Ignored, decide
from django_events.consuming.queues import Queues
from django_events.consuming.work import Work
from django_events.consuming.workers import Result, Unit, Workers
from django_events.exceptions import BrokerUnavailable
from django_events.handlers import ConsumerGroup
from django_events.kafka import dead_letter_topics, topics
from django_events.kafka.consumer import LONGEST_POLL, Consumer
from django_events.kafka.record import Partition, ReceivedRecord

logger = logging.getLogger("django_events.group")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one group takes on in one process. Immutable."""

    workers: int = 8
    """Threads that run handlers, each with a database connection of its own."""
    in_hand_of_partition: int = 1_000
    """Records of one partition that the committed offset has not passed; above, the partition is paused."""
    active: int = 10_000
    """Works of the whole group that do not wait for a retry; above, all partitions are paused."""
    commit_interval: float = 1.0
    """Seconds between two commits of offsets: what a crash makes come again."""
    drain: float = 20.0
    """Seconds that a rebalance waits for handlers that run; far below max.poll.interval.ms (300 s)."""


POLLED_AT_ONCE = 200  # records between two looks at the results
HANDED_OUT_AHEAD = 4  # units for each worker, so that none is idle while this thread is at Kafka
SHORTEST_WAIT, LONGEST_WAIT = 0.001, 0.01  # seconds between two looks at Kafka while handlers run


class GroupThread(threading.Thread):
    """Runs one consumer group until it is stopped. ``error`` is what ended it, if it did not end by ``stop``."""

    def __init__(self, group: ConsumerGroup, limits: Limits, on_change: Callable[[str], None]) -> None:
        super().__init__(name=f"django-events-{group.name}", daemon=True)
        self.error: BaseException | None = None
        self.left_running = False
        """Whether handlers still ran when the time to stop was over. Read it after ``join``."""
        self.ready = threading.Event()
        """Set when partitions were assigned for the first time."""
        self.prepared = threading.Event()
        """Set when the topics of the group were looked for, and created where they can be."""
        self.group = group
        self._limits = limits
        self._on_change = on_change
        self._stopping = threading.Event()
        self._stop_deadline = float("inf")
        self._queues = Queues()
        self._progress: dict[Partition, Progress] = {}
        self._running: set[Work] = set()
        self._writing = 0
        self._newly_assigned: list[Partition] = []
        self._paused: set[Partition] = set()
        self._all_paused = False
        self._commit_due = 0.0
        self._wait = SHORTEST_WAIT

    # ── from other threads ───────────────────────────────────────────────────────────────────────────────────────

    def stop(self, timeout: float) -> None:
        """Take no more work, let running handlers finish for at most ``timeout`` seconds, commit, leave the group.

        Thread-safe, idempotent; returns at once. Then ``join``.
        """
        self._stop_deadline = time.monotonic() + timeout
        self._stopping.set()

    # ── the thread ───────────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        try:
            self._create_topics()
            self.prepared.set()
            self._consumer = Consumer(self.group.name, self.group.topics, self)
            self._workers: Workers[list[Work]] = Workers(self._limits.workers, self.name)
            self._letter_writer = LetterWriter(self.group.name, self._workers.results)
            try:
                while not self._stopping.is_set():
                    self._turn()
                self._finish()
            finally:
                self._consumer.close()
                self._workers.stop(timeout=0.5)
                self._letter_writer.stop(timeout=0.5)
        except BaseException as error:
            logger.exception("Group %s ended", self.group.name)
            self.error = error
        finally:
            connections.close_all()

    def _create_topics(self) -> None:
        """Create declared topics that are missing, as far as Kafka answers; the others are waited for."""
        try:
            found = topics.create_missing(self.group.topics, timeout=5.0)
            sources = found.intersection(self.group.dead_letter_sources)
            problems = dead_letter_topics.create_missing(self.group.name, sources, timeout=5.0)
        except BrokerUnavailable as error:
            self._on_change(f"{self.group.name}: waiting for Kafka. {error}")
            return
        for topic in sorted(set(self.group.topics) - found):
            self._on_change(f"{self.group.name}: waiting for topic {topic}, which Kafka does not have")
        for problem in problems:
            logger.error("Group %s: %s", self.group.name, problem.text)
            self._on_change(f"{self.group.name}: {problem.text}")

    def _turn(self) -> None:
        """One round of everything; sleeps only where there is nothing to do, and then where news arrive first."""
        collected = self._collect(block=0.0)
        self._queues.wake(time.monotonic())
        self._hand_out()
        self._commit_if_due()
        self._resume_all_if_few()
        polled = self._poll()
        if collected or polled:
            self._wait = SHORTEST_WAIT
        elif self._running:
            self._collect(block=self._wait)
            self._wait = min(self._wait * 2, LONGEST_WAIT)

    def _finish(self) -> None:
        """Let what runs finish, then commit. What was not begun comes again elsewhere."""
        self._drain({work.progress for work in self._running} | {*self._progress.values()}, self._stop_deadline)
        self.left_running = bool(self._running)
        if self._running:
            names = ", ".join(sorted({str(work.handler) for work in self._running}))
            logger.error("Group %s stops without waiting longer for %s", self.group.name, names)
        if crash_points.armed:
            crash_points.reached("stopped-not-committed")
        self._commit(self._progress, wait=True)

    # ── Kafka to queues ──────────────────────────────────────────────────────────────────────────────────────────

    def _poll(self) -> int:
        """Take what Kafka has, up to a bound; wait for it only when nothing runs that could end meanwhile."""
        self._settle_in()
        count = 0
        timeout = 0.0 if self._running else self._seconds_to_next_retry()
        while count < POLLED_AT_ONCE and (record := self._consumer.poll(timeout if not count else 0.0)):
            self._take_on(record)
            count += 1
        return count

    def _settle_in(self) -> None:
        """Set what newly assigned partitions fetch: librdkafka may still have them paused from an earlier time."""
        for partition in self._newly_assigned:
            if partition in self._progress:
                is_paused = self._all_paused or partition in self._paused
                (self._consumer.pause if is_paused else self._consumer.resume)(partition)
        self._newly_assigned.clear()

    def _seconds_to_next_retry(self) -> float:
        due = self._queues.next_due()
        return LONGEST_POLL if due is None else min(max(due - time.monotonic(), 0.0), LONGEST_POLL)

    def _take_on(self, record: ReceivedRecord) -> None:
        if crash_points.armed:
            crash_points.reached("record-polled")
        progress = self._progress.get(record.partition)
        if progress is None:  # fetched just before the partition was lost
            return
        handlers = self.group.handlers_of(record.topic)
        in_hand = progress.started(record.offset, len(handlers))
        for handler in handlers:
            self._queues.add(Work(handler, record, progress, in_hand))
        if progress.in_hand >= self._limits.in_hand_of_partition and record.partition not in self._paused:
            self._paused.add(record.partition)
            self._consumer.pause(record.partition)
        if self._queues.active >= self._limits.active and not self._all_paused:
            self._all_paused = True
            for partition in self._progress.keys() - self._paused:
                self._consumer.pause(partition)

    def _resume(self, progress: Progress) -> None:
        """Fetch again once half of what is too much has been dealt with."""
        if progress.in_hand <= self._limits.in_hand_of_partition // 2:
            self._paused.discard(progress.partition)
            if not self._all_paused:
                self._consumer.resume(progress.partition)

    def _resume_all_if_few(self) -> None:
        """Fetch again once half of what is too much is handled, waits for a retry, or is not ours any more."""
        if self._all_paused and self._queues.active <= self._limits.active // 2:
            self._all_paused = False
            for partition in self._progress.keys() - self._paused:
                self._consumer.resume(partition)

    # ── queues to workers and back ───────────────────────────────────────────────────────────────────────────────

    def _hand_out(self) -> None:
        ahead = self._workers.count * HANDED_OUT_AHEAD
        while len(self._running) - self._writing < ahead and (work := self._queues.take()):
            self._running.add(work)
            work.handed_out(time.monotonic())
            if work.letter:
                self._writing += 1
                self._letter_writer.submit(work)
            else:
                unit = Unit([work], work.handler, [work.record], work.attempts + 1, [work.progress])
                self._workers.submit(unit)

    def _collect(self, block: float) -> int:
        """Deal with the results that are there; wait up to ``block`` seconds for the first."""
        count = 0
        while True:
            try:
                result = self._workers.results.get(timeout=block) if block else self._workers.results.get_nowait()
            except queue.Empty:
                return count
            block = 0.0
            count += 1
            self._conclude(result)

    def _conclude(self, result: Result[list[Work]]) -> None:
        self._running.difference_update(result.subject)
        self._writing -= sum(1 for work in result.subject if work.letter)
        for work, outcome in zip(result.subject, result.outcomes, strict=False):
            self._follow(work, outcome)
        for work in result.subject:
            if work.progress.ended:
                self._queues.finished_too_late(work, self._running)

    def _follow(self, work: Work, outcome: Outcome) -> None:
        """Do what follows from the outcome: let the offset pass, put the work on the clock, or write a letter."""
        if work.progress.ended:
            return
        now = time.monotonic()
        decision = decide(outcome, work.handler.policy, work.tries(now))
        say_what_follows(work, outcome, decision)
        match decision:
            case Again(delay=delay, counts=True):
                work.failed(now)
                self._queues.again(work, now + delay)
            case Again(delay=delay):
                work.postponed(delay, now)
                self._queues.again(work, now + delay)
            case Buried(report=report):
                work.failed(now)
                work.bury(report)
                self._queues.again(work, now)
            case Done() | Ignored() | Discarded():
                self._finished(work)

    def _finished(self, work: Work) -> None:
        self._queues.finished(work)
        work.progress.finished(work.in_hand)
        if work.record.partition in self._paused:
            self._resume(work.progress)

    # ── offsets ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _commit_if_due(self) -> None:
        now = time.monotonic()
        if now >= self._commit_due:
            self._commit_due = now + self._limits.commit_interval
            self._commit(self._progress, wait=False)

    def _commit(self, partitions: Iterable[Partition], *, wait: bool) -> None:
        """Commit how far these partitions are; with ``wait`` also what was committed and may not have arrived."""
        for partition in self._consumer.take_uncommitted() & self._progress.keys():
            self._progress[partition].committed(None)
        progress = {partition: self._progress[partition] for partition in partitions}
        found = {partition: each.next_offset if wait else each.committable() for partition, each in progress.items()}
        offsets = {partition: offset for partition, offset in found.items() if offset is not None}
        if not offsets:
            return
        if crash_points.armed:
            crash_points.reached("before-offset-commit")
        self._consumer.commit(offsets, wait=wait)
        for partition, offset in offsets.items():
            self._progress[partition].committed(offset)

    # ── assignment; called by the consumer inside poll and close ─────────────────────────────────────────────────

    def assigned(self, partitions: list[Partition]) -> None:
        """Begin anew with these partitions; librdkafka starts them at their committed offsets."""
        for partition in partitions:
            self._progress[partition] = Progress(partition)
        self._newly_assigned += partitions
        self.ready.set()
        self._on_change(f"{self.group.name}: got {_list(partitions)}")

    def revoked(self, partitions: list[Partition]) -> None:
        """Begin nothing more of these partitions, wait for what runs, commit, forget."""
        ours = [partition for partition in partitions if partition in self._progress]
        deadline = min(time.monotonic() + self._limits.drain, self._stop_deadline)
        self._drain({self._progress[partition] for partition in ours}, deadline)
        if crash_points.armed:
            crash_points.reached("revoked-not-committed")
        self._commit(ours, wait=True)
        self._forget(ours)
        self._on_change(f"{self.group.name}: gave up {_list(partitions)}")

    def lost(self, partitions: list[Partition]) -> None:
        """Forget these partitions at once: another process has them, and its offsets count."""
        self._forget([partition for partition in partitions if partition in self._progress])
        self._on_change(f"{self.group.name}: lost {_list(partitions)}")

    def _drain(self, draining: Collection[Progress], deadline: float) -> None:
        """Let the running works of these partitions finish; those that no worker has begun are not begun."""
        for progress in draining:
            progress.draining = True
        while any(work.progress in draining for work in self._running):
            seconds_left = deadline - time.monotonic()
            if seconds_left <= 0:
                return
            self._collect(block=min(seconds_left, LONGEST_POLL))

    def _forget(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            self._progress.pop(partition).ended = True
            self._paused.discard(partition)
        self._queues.drop_ended(self._running)


def _list(partitions: list[Partition]) -> str:
    return ", ".join(f"{partition.topic}[{partition.number}]" for partition in sorted(partitions)) or "nothing"
