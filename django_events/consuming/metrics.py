"""What is counted and measured of handlers, groups and broadcast handlers, in the threads that own them.

Events are counted by the unit in which they come back from a worker, and how much there is is told once a second.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import attrgetter

from django_events import metrics
from django_events.consuming.calls import Call
from django_events.consuming.handing_out import HandingOut
from django_events.consuming.offsets import Progress
from django_events.consuming.outcome import Duplicate, Handled, LetterRefused, LetterWritten, Outcome
from django_events.consuming.policy import Again, Decision
from django_events.consuming.queues import Queues
from django_events.consuming.work import Work
from django_events.handlers import ConsumerGroup, Handler
from django_events.kafka.consumer import Consumer
from django_events.kafka.record import Partition, ReceivedRecord

_DONE: dict[type, str] = {Handled: "handled", Duplicate: "duplicate"}

_topic = attrgetter("record.partition.topic")


def count_outcomes(works: Sequence[Work], outcomes: Sequence[Outcome]) -> None:
    """These went to a worker together, or to the writer of letters. What failed is counted when it is known what
    follows."""
    if not metrics.is_there:
        return
    labels = works[0].handler.group, works[0].handler.name
    for (topic, kind), count in Counter(zip(map(_topic, works), map(type, outcomes), strict=True)).items():
        if what := _DONE.get(kind):
            metrics.HANDLER_OUTCOMES.of(*labels, topic, what).add(count)
        elif kind is LetterWritten:
            metrics.LETTERS_WRITTEN.of(*labels, topic).add(count)
    first = next((work for work, outcome in zip(works, outcomes, strict=True) if isinstance(outcome, Handled)), None)
    if first and (age := first.record.age(time.time())) is not None:
        metrics.HANDLE_DELAY.of(*labels, first.record.topic).observe(age)


def count_failure(work: Work, outcome: Outcome, decision: Decision) -> None:
    """It was no success, and this follows."""
    if isinstance(outcome, LetterRefused):
        metrics.ERRORS.of("dead_letter_topic").add()
        return
    is_postponed = isinstance(decision, Again) and not decision.counts
    what = "postponed" if is_postponed else type(decision).__name__.lower()
    metrics.HANDLER_OUTCOMES.of(work.handler.group, work.handler.name, work.record.topic, what).add()


def tell_of_handlers(
    handlers: Sequence[Handler], queues: Queues, handing_out: HandingOut, running: Collection[Call]
) -> None:
    """How much each handler has to do at this moment; ``running`` are the calls that have not returned."""
    if not metrics.is_there:
        return
    now = time.monotonic()
    out = Counter(work.handler.name for work in handing_out.out if not work.letter)
    waiting = queues.waiting()
    for handler in handlers:
        labels = handler.group, handler.name
        metrics.HANDLER_WAITING.of(*labels).set(waiting[handler.name])
        metrics.HANDLER_RUNNING.of(*labels).set(out[handler.name])
        metrics.HANDLER_BATCHES.of(*labels).set(handing_out.units_of(handler))
        began = min((call.began for call in running if call.handler.name == handler.name), default=now)
        metrics.HANDLER_LONGEST.of(*labels).set(now - began)


def forget_handlers(handlers: Iterable[Handler]) -> None:
    """They were stopped, as somebody wished: nothing is told of this moment any more."""
    for handler in handlers:
        for metric in (
            metrics.HANDLER_WAITING,
            metrics.HANDLER_RUNNING,
            metrics.HANDLER_BATCHES,
            metrics.HANDLER_LONGEST,
        ):
            metric.forget(handler.group, handler.name)


class GroupMetrics:
    """What a group's thread counts and measures. Used by it alone."""

    def __init__(self, group: ConsumerGroup) -> None:
        self._group = group
        self._taken_on: Counter[str] = Counter()

    def took_on(self, record: ReceivedRecord) -> None:
        """A record came from Kafka."""
        self._taken_on[record.partition.topic] += 1

    def first_of_a_look(self, record: ReceivedRecord) -> None:
        """It was the first of a look at Kafka."""
        if metrics.is_there and (age := record.age(time.time())) is not None:
            metrics.RECEIVE_DELAY.of(self._group.name, record.topic).observe(age)

    def rebalanced(self, change: str) -> None:
        """Its partitions have changed: they were assigned, revoked or lost."""
        metrics.REBALANCES.of(self._group.name, change).add()

    def not_committed(self) -> None:
        """Kafka has not taken offsets."""
        metrics.ERRORS.of("commit").add()

    def tell(self, partitions: Mapping[Partition, Progress], consumer: Consumer, paused: int) -> None:
        """How far it is at this moment."""
        if not metrics.is_there:
            return
        now = time.time()
        name = self._group.name
        lag: defaultdict[str, int] = defaultdict(int)
        oldest: defaultdict[str, float] = defaultdict(float)
        for partition, progress in partitions.items():
            lag[partition.topic] += progress.behind(consumer.known_end(partition))
            oldest[partition.topic] = max(oldest[partition.topic], progress.age(now))
        for topic in self._group.sources:
            metrics.RECORDS_CONSUMED.of(name, topic).add(self._taken_on.pop(topic, 0))
            metrics.LAG.of(name, topic).set(lag[topic])
            metrics.OLDEST_UNHANDLED.of(name, topic).set(oldest[topic])
        metrics.IN_FLIGHT.of(name).set(sum(progress.in_hand for progress in partitions.values()))
        metrics.ASSIGNED.of(name).set(len(partitions))
        metrics.PAUSED.of(name).set(paused)
        if consumer.reaches_kafka:
            metrics.LAST_POLL.of(name).set(now)
        if consumer.committed_at:
            metrics.LAST_COMMIT.of(name).set(consumer.committed_at)

    def forget(self) -> None:
        """The group was stopped, as somebody wished: in a process that goes on, its last look at Kafka would grow old
        for ever. What of a group has died stays, so that it is missed."""
        name = self._group.name
        for metric in (metrics.IN_FLIGHT, metrics.ASSIGNED, metrics.PAUSED, metrics.LAST_POLL, metrics.LAST_COMMIT):
            metric.forget(name)
        for topic in self._group.sources:
            metrics.LAG.forget(name, topic)
            metrics.OLDEST_UNHANDLED.forget(name, topic)
        forget_handlers(self._group.handlers)
