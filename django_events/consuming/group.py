"""One consumer group in this process: the thread that polls, queues, hands out, collects, commits and keeps the clock.

It alone touches the Kafka consumer and the offsets. Workers get works and give results, so nothing here needs a lock.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from django.db import connections

from django_events import crash_points, signals
from django_events.consuming.announcing import say_what_follows
from django_events.consuming.calls import Call
from django_events.consuming.concluding import conclude
from django_events.consuming.deletions import Deletions
from django_events.consuming.handing_out import HandingOut
from django_events.consuming.letter_writer import LetterWriter
from django_events.consuming.limits import Limits
from django_events.consuming.metrics import GroupMetrics, tell_of_handlers
from django_events.consuming.offsets import Progress
from django_events.consuming.outcome import Outcome
from django_events.consuming.pausing import Pauses
from django_events.consuming.policy import Again, Buried, Discarded, Done, Ignored, decide
from django_events.consuming.pulse import Pulse
from django_events.consuming.queues import Queues
from django_events.consuming.slowness import Slowness
from django_events.consuming.work import Work
from django_events.consuming.workers import Workers
from django_events.exceptions import BrokerUnavailable
from django_events.handlers import ConsumerGroup
from django_events.kafka import dead_letter_topics, topics
from django_events.kafka.consumer import LONGEST_POLL, Consumer
from django_events.kafka.record import Partition, ReceivedRecord
from django_events.log_fields import fields

logger = logging.getLogger("django_events.group")

LONGEST_ROUND = 30.0
"""Seconds after which a group that has not polled is taken to be stuck; a rebalance may drain for 20 s in between."""

POLLED_AT_ONCE, POLLED_AT_LEAST = 200, 20
"""Records between two looks at the results: fewer where results wait, lest a worker be idle."""

HEARING = 1.0
"""Seconds in which Kafka says what is not ours any more, after a standstill of this process."""

AGAIN = 1.0
"""Seconds between two tries to make a consumer where the site's functions give no password or token."""

PLENTY_FOR = 0.5
"""Seconds between two looks at Kafka while workers have more than enough."""

SHORTEST_WAIT, LONGEST_WAIT = 0.001, 0.01
"""Seconds between two looks at Kafka while handlers run."""


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
        self.member_id = ""
        """What Kafka called this member when partitions were last assigned, or until then, a moment ago. Other threads
        may read it."""
        self.records_done = 0
        """Records that all handlers are done with. Other threads may read it."""
        self.polled_at = float("-inf")
        """The moment (time.monotonic) of the last round; until the first, of the last step before it. Other threads may
        read it."""
        self.group = group
        self._limits = limits
        self._on_change = on_change
        self._stopping = threading.Event()
        self._stop_deadline = float("inf")
        self._queues = Queues()
        self._handlers = {source: group.handlers_of(source) for source in group.sources}
        self._progress: dict[Partition, Progress] = {}
        self._pauses = Pauses(limits.in_hand_of(group), limits.active_of(group))
        self._slowness = Slowness()
        self._deletions = Deletions(group)
        self._is_writer_stuck = False
        self._metrics = GroupMetrics(group)
        self._newly_assigned: list[Partition] = []
        self._waits_for = ""
        """Why it was last said that Kafka is waited for."""
        self._commit_due = 0.0
        self._pulse = Pulse()
        self._wait = SHORTEST_WAIT
        self._looked_at = float("-inf")
        """The moment (time.monotonic) of the last look at Kafka."""

    # ── from other threads ───────────────────────────────────────────────────────────────────────────────────────

    def stop(self, timeout: float) -> None:
        """Take no more work, let running handlers finish for at most ``timeout`` seconds, commit, leave the group.

        Thread-safe, idempotent; returns at once. Then ``join``.
        """
        self._stop_deadline = time.monotonic() + timeout
        self._stopping.set()

    @property
    def partitions(self) -> list[Partition]:
        """What it has now. Thread-safe."""
        return list(self._progress)

    @property
    def paused(self) -> int:
        """Of how many of them nothing more is taken, because too much is in hand. Thread-safe."""
        return self._pauses.count(self.partitions)

    @property
    def has_polled_lately(self) -> bool:
        """Whether its last round, or until the first its last step, was less than ``LONGEST_ROUND`` ago. False while it
        has not begun. Thread-safe."""
        return self.polled_at > time.monotonic() - LONGEST_ROUND

    @property
    def is_stuck(self) -> bool:
        """Whether one of its handlers has been running for too long, or the writer of its letters. Thread-safe."""
        return self._slowness.is_stuck or self._is_writer_stuck

    @property
    def oldest_call(self) -> Call | None:
        """Which call of a handler had been running for longest, about a second ago. Thread-safe."""
        return self._slowness.oldest

    # ── the thread ───────────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        self.polled_at = time.monotonic()
        try:
            if not self._join():
                return
            self._workers: Workers[list[Work]] = Workers(self._limits.workers_of(self.group), self.name)
            self._letter_writer = LetterWriter(self.group.name, self._workers.results)
            self._handing_out = HandingOut(self.group.handlers, self._queues, self._workers, self._letter_writer)
            self._pulse.restart()
            try:
                while not self._stopping.is_set():
                    self._turn()
                self._let_finish()
            except BaseException as error:
                self.error = error  # at once: handlers that run are waited for before this thread ends
                raise
            finally:
                self._consumer.close()
                self._tell_metrics({})
                self._workers.stop(timeout=0.5)
                self._letter_writer.stop(timeout=0.5)
            self._metrics.forget()
        except BaseException as error:
            logger.exception("Group %s ended", self.group.name, extra=fields(group=self.group.name))
            self.error = error
        finally:
            connections.close_all()

    def _join(self) -> bool:
        """Create topics and make the consumer. What a function of the site raises that is to give a password or a token
        is waited out, as an outage is. False if the group is to stop before that."""
        start, is_stopping = self.group.start, self._stopping.is_set
        has_answered = False
        while not is_stopping():
            has_answered = has_answered or self._create_topics()
            self.prepared.set()
            try:
                self._consumer = Consumer(
                    self.group.name, self.group.sources, self, start=start, is_stopping=is_stopping
                )
            except BrokerUnavailable as error:
                self._say_what_is_waited_for(error)
                self.polled_at = time.monotonic()  # it does not hang: to start the process again would not help
                self._stopping.wait(AGAIN)
            else:
                return True
        return False

    def _create_topics(self) -> bool:
        """Create declared topics that are missing; the others are waited for. Whether Kafka has answered."""
        try:
            found = topics.create_missing(self.group.topics, timeout=5.0)
            sources = found.intersection(self.group.dead_letter_sources)
            problems = dead_letter_topics.ensure(self.group.name, sources, timeout=5.0)
            for other, their_topics in self.group.foreign_letters():
                self.polled_at = time.monotonic()  # Kafka may be slow, and each of them has five seconds
                problems += dead_letter_topics.ensure(other, set(their_topics), timeout=5.0)
        except BrokerUnavailable as error:
            self._say_what_is_waited_for(error)
            return False
        for topic in sorted(set(self.group.topics) - found):
            self._on_change(f"{self.group.name}: waiting for topic {topic}, which Kafka does not have")
        for problem in problems:
            logger.error("Group %s: %s", self.group.name, problem.text, extra=fields(group=self.group.name))
            self._on_change(f"{self.group.name}: {problem.text}")
        return True

    def _say_what_is_waited_for(self, error: BrokerUnavailable) -> None:
        if str(error) != self._waits_for:
            self._waits_for = str(error)
            self._on_change(f"{self.group.name}: waiting for Kafka. {error}")

    def _turn(self) -> None:
        """One round of everything; sleeps only where there is nothing to do, and then where news arrive first."""
        self._hear_what_is_ours()
        collected = self._collect(block=0.0)
        now = self.polled_at = time.monotonic()
        self._queues.wake(now)
        self._handing_out.hand_out(now)
        self._once_a_second(now)
        polled = self._poll(now)
        if collected or polled:
            self._wait = SHORTEST_WAIT
        elif self._running:
            self._collect(block=self._wait)
            self._wait = min(self._wait * 2, LONGEST_WAIT)

    def _hear_what_is_ours(self) -> None:
        """After a standstill, in which Kafka may have given our partitions to others, hear of that before anything is
        begun or committed."""
        if self._pulse.is_steady:
            self._pulse.beat()
            return
        deadline = time.monotonic() + HEARING
        while time.monotonic() < deadline:
            self._settle_in()
            if record := self._consumer.poll(LONGEST_POLL):
                self._take_on(record)
        self._pulse.restart()

    @property
    def _running(self) -> set[Work]:
        return self._handing_out.out

    def _once_a_second(self, now: float) -> None:
        if now >= self._commit_due:
            if self._letter_writer.error:  # what it had would hold its keys for ever
                raise self._letter_writer.error
            self._commit_due = now + self._limits.commit_interval
            if not self.ready.is_set() and not self.member_id:  # asked no more than it must be: it waits for its thread
                self.member_id = self._consumer.member_id
            self._commit(self._progress, wait=False)
            self._is_writer_stuck = self._letter_writer.is_stuck
            self._slowness.look_at_calls(self._workers.calls)
            self._slowness.look_at_offsets(self._progress.values(), self._queues)
            self._deletions.look(self._progress, self._consumer.known_begin)
            self._tell_metrics(self._progress)

    def _tell_metrics(self, partitions: Mapping[Partition, Progress]) -> None:
        self._metrics.tell(partitions, self._consumer, self._pauses.count(partitions))
        tell_of_handlers(self.group.handlers, self._queues, self._handing_out, self._workers.calls)

    def _let_finish(self) -> None:
        """Let what runs finish, then commit. What was not begun comes again elsewhere."""
        self._hear_what_is_ours()
        self._drain({work.progress for work in self._running} | {*self._progress.values()}, self._stop_deadline)
        self.left_running = bool(self._running)
        if self._running:
            names = ", ".join(sorted({str(work.handler) for work in self._running}))
            text, extra = "Group %s stops without waiting longer for %s", fields(group=self.group.name)
            logger.error(text, self.group.name, names, extra=extra)
        self._deletions.look(self._progress, self._consumer.known_begin)
        if crash_points.armed:
            crash_points.reached("stopped-not-committed")
        self._commit(self._progress, wait=True)

    # ── Kafka to queues ──────────────────────────────────────────────────────────────────────────────────────────

    def _poll(self, now: float) -> int:
        """Take what Kafka has, up to a bound; wait for it only when nothing runs that could end meanwhile."""
        self._settle_in()
        count = 0
        timeout = 0.0 if self._running else self._seconds_to_next_begin()
        if not self._may_poll(now):
            return self._collect(block=min(timeout, LONGEST_WAIT))
        while count < POLLED_AT_ONCE and (record := self._consumer.poll(timeout if not count else 0.0)):
            if not count:
                self._metrics.first_of_a_look(record)
            is_too_much = self._take_on(record)
            count += 1
            if is_too_much or (count >= POLLED_AT_LEAST and not self._workers.results.empty()):
                break
        return count

    def _may_poll(self, now: float) -> bool:
        """Whether to look at Kafka. For a while not if workers have more than enough: what is taken on are objects, all
        of which Python looks at for garbage again and again; what waits in librdkafka is bytes."""
        if self._handing_out.has_plenty and now - self._looked_at < PLENTY_FOR:
            return False
        is_idle = not self._running
        if not self._pauses.may_poll(self._consumer, self._progress, self._queues.active, now, is_idle=is_idle):
            return False
        self._looked_at = now
        return True

    def _settle_in(self) -> None:
        ours = [partition for partition in self._newly_assigned if partition in self._progress]
        self._newly_assigned.clear()
        self._pauses.settle(self._consumer, ours)

    def _seconds_to_next_begin(self) -> float:
        """Until a retry is due, or a batch need not be full any more."""
        moments = [self._queues.next_due(), self._handing_out.next_batch_due()]
        due = min((moment for moment in moments if moment is not None), default=float("inf"))
        return min(max(due - time.monotonic(), 0.0), LONGEST_POLL)

    def _take_on(self, record: ReceivedRecord) -> bool:
        """Put the record into the queues of its handlers. Whether too much is in hand now."""
        if crash_points.armed:
            crash_points.reached("record-polled")
        progress = self._progress.get(record.partition)
        if progress is None:  # fetched just before the partition was lost
            return False
        self._metrics.took_on(record)
        handlers = self._handlers[record.partition.topic]
        in_hand = progress.started(record.offset, len(handlers), record.timestamp)
        for handler in handlers:
            self._queues.add(Work(handler, record, progress, in_hand), in_hand.since)
        return self._pauses.took_on(progress, self._queues.active)

    # ── queues to workers and back ───────────────────────────────────────────────────────────────────────────────

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
            conclude(result, self._queues, self._handing_out, self._finished, self._follow)

    def _follow(self, work: Work, outcome: Outcome, now: float) -> float | None:
        """Do what follows from an outcome that is no success. The seconds until the work is to be tried again, or its
        letter written; None if it is done with."""
        decision = decide(outcome, work.handler.policy, work.tries(now))
        say_what_follows(work, outcome, decision)
        match decision:
            case Again(delay=delay, counts=True):
                work.failed(now)
                return delay
            case Again(delay=delay):
                work.postponed(delay, now)
                return delay
            case Buried(report=report):
                work.failed(now)
                work.bury(report)
                return 0.0
            case Done() | Ignored() | Discarded():
                return None

    def _finished(self, work: Work) -> None:
        work.progress.finished(work.in_hand)
        self.records_done += not work.in_hand.handlers_left
        self._pauses.finished(self._consumer, work.progress, self.polled_at)

    # ── offsets ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _commit(self, partitions: Iterable[Partition], *, wait: bool) -> None:
        """Commit how far these partitions are; with ``wait`` also what was committed and may not have arrived.

        One after the other: without ``wait`` nothing is committed while an earlier commit is unanswered.
        """
        uncommitted = self._consumer.take_uncommitted()
        if uncommitted:
            self._metrics.not_committed()
        for partition in uncommitted & self._progress.keys():
            self._progress[partition].committed(None)
        progress = {partition: self._progress[partition] for partition in partitions}
        found = {partition: each.next_offset if wait else each.committable() for partition, each in progress.items()}
        offsets = {partition: offset for partition, offset in found.items() if offset is not None}
        if not offsets or (self._consumer.is_committing and not wait):
            return
        if crash_points.armed:
            crash_points.reached("before-offset-commit")
        self._consumer.commit(offsets, wait=wait)
        for partition, offset in offsets.items():
            self._progress[partition].committed(offset)

    # ── assignment; called by the consumer inside poll and close ─────────────────────────────────────────────────

    def assigned(self, partitions: list[Partition]) -> None:
        """Begin anew with these partitions; where to read them, ``kafka/starting.py`` has told librdkafka already."""
        for partition in partitions:
            self._progress[partition] = Progress(partition, self._pulse, self._consumer.begins_at(partition))
        self._newly_assigned += partitions
        self.member_id = self._consumer.member_id
        self.ready.set()
        self._metrics.rebalanced("assigned")
        self._on_change(f"{self.group.name}: got {_list(partitions)}")
        if partitions:
            signals.tell(signals.group_assigned, self.group, group=self.group.name, partitions=partitions)

    def revoked(self, partitions: list[Partition]) -> None:
        """Begin nothing more of these partitions, wait for what runs, commit, forget."""
        ours = [partition for partition in partitions if partition in self._progress]
        self._drain({self._progress[partition] for partition in ours}, time.monotonic() + self._limits.drain)
        self._deletions.look(self._progress, self._consumer.known_begin)
        if crash_points.armed:
            crash_points.reached("revoked-not-committed")
        self._commit(ours, wait=True)
        self._forget(ours)
        self._metrics.rebalanced("revoked")
        self._on_change(f"{self.group.name}: gave up {_list(partitions)}")
        self._tell_revoked(partitions, lost=False)

    def lost(self, partitions: list[Partition]) -> None:
        """Forget these partitions at once: another process has them, and its offsets count."""
        self._forget([partition for partition in partitions if partition in self._progress])
        self._metrics.rebalanced("lost")
        self._on_change(f"{self.group.name}: lost {_list(partitions)}")
        self._tell_revoked(partitions, lost=True)

    def _tell_revoked(self, partitions: list[Partition], *, lost: bool) -> None:
        if partitions:
            signals.tell(signals.group_revoked, self.group, group=self.group.name, partitions=partitions, lost=lost)

    def _drain(self, draining: Collection[Progress], deadline: float) -> None:
        """Let the running works of these partitions finish; those that no worker has begun are not begun. Ends when a
        stop, which may come meanwhile, leaves no more time."""
        for progress in draining:
            progress.draining = True
        self._workers.take_back()
        while any(work.progress in draining and not self._is_lost(work) for work in self._running):
            seconds_left = min(deadline, self._stop_deadline) - time.monotonic()
            if seconds_left <= 0:
                return
            self._pulse.beat()
            self._collect(block=min(seconds_left, LONGEST_POLL))

    def _is_lost(self, work: Work) -> bool:
        """Whether it will never come back, because the writer of letters has died with it."""
        return work.letter is not None and self._letter_writer.error is not None

    def _forget(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            self._progress.pop(partition).ended = True
            self._pauses.forget(partition)
        self._queues.drop_ended()


def _list(partitions: list[Partition]) -> str:
    return ", ".join(map(str, sorted(partitions))) or "nothing"
