"""The thread of a group that writes its dead letters to Kafka, so that the group's own thread never waits for that."""

import logging
import queue
import threading
import time
from collections.abc import Sequence

from django_events import crash_points, repeats
from django_events.consuming.dead_letter import without_traceback
from django_events.consuming.outcome import LetterRefused, LetterWritten, Outcome
from django_events.consuming.work import Work
from django_events.consuming.workers import Result
from django_events.exceptions import EventsError
from django_events.kafka import config, dead_letter_topics
from django_events.kafka.producer import Deliveries, Producer
from django_events.kafka.record import Record
from django_events.log_fields import fields

logger = logging.getLogger("django_events.dead_letters")

WAIT = 5.0
"""Seconds that Kafka has to acknowledge letters, or to answer a question."""

LOOK = 5.0
"""Seconds between two tries to create a topic that is missing: each that fails is logged."""

STUCK = 60.0
"""Seconds without a step forward after which it is taken to be stuck: all that it waits for ends sooner."""

AT_ONCE = 100
"""Letters that are sent together."""


class LetterWriter(threading.Thread):
    """Gets works with letters, gives results: written, or refused with the reason. It tries each once; the group's
    clock has refused ones tried again. A daemon: an offset never passes a letter that is not acknowledged."""

    def __init__(self, group: str, results: "queue.SimpleQueue[Result[list[Work]]]") -> None:
        super().__init__(name=f"django-events-{group}-dead-letter-writer", daemon=True)
        self._group = group
        self._results = results
        self._works: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self.error: BaseException | None = None
        """What ended it, if it did not end by ``stop``; the group must not go on without it."""
        self._writing_since: float | None = None
        self._producer: Producer | None = None
        self._look_at = 0.0

    @property
    def is_stuck(self) -> bool:
        """Whether it has been waiting for one answer of Kafka's for longer than it waits. Thread-safe."""
        since = self._writing_since
        return since is not None and time.monotonic() - since > STUCK

    def submit(self, work: Work) -> None:
        """Have the work's letter written. Thread-safe; does not block; starts the thread with the first letter."""
        self._works.put(work)
        if self.ident is None:
            self.start()

    def stop(self, timeout: float) -> None:
        """End the thread once it is idle; wait at most ``timeout`` seconds."""
        self._works.put(None)
        if self.is_alive():
            self.join(timeout)

    def run(self) -> None:
        try:
            while works := self._next_works():
                for work, outcome in zip(works, self._write(works), strict=True):
                    self._results.put(Result([work], [outcome]))
                self._writing_since = None
            self._let_go()
        except BaseException as error:
            self.error = error

    def _next_works(self) -> list[Work]:
        """What waits, but for the signal to end; empty if that is all."""
        found = [self._works.get()]
        while found[-1] is not None and len(found) < AT_ONCE:
            try:
                found.append(self._works.get_nowait())
            except queue.Empty:
                break
        if found[-1] is None and len(found) > 1:
            self._works.put(None)
        return [work for work in found if work is not None]

    def _write(self, works: Sequence[Work]) -> list[Outcome]:
        """Write the letters. Never raises: a work without a result would hold its offset for ever."""
        letters = [work.letter for work in works if work.letter]
        self._writing_since = time.monotonic()
        try:
            self._look_for({(letter.topic, work.record.topic) for letter, work in zip(letters, works, strict=True)})
            refused = self._send(letters)
        except Exception as error:
            if not isinstance(error, EventsError):
                text, extra = "Group %s could not write dead letters", fields(group=self._group)
                repeats.log(
                    logger, logging.ERROR, (self._group, type(error)), text, self._group, exc_info=error, extra=extra
                )
            self._let_go()
            return [LetterRefused(str(error))] * len(works)
        if crash_points.armed:
            crash_points.reached("dead-letter-written")
        return [LetterRefused(refused[at]) if at in refused else LetterWritten() for at in range(len(works))]

    def _look_for(self, topics: set[tuple[str, str]]) -> None:
        """Create the topics that are missing; those that are still missing then are refused one by one."""
        now = time.monotonic()
        if now < self._look_at or all(self._connected().knows(topic) for topic, _ in topics):
            return
        self._look_at = now + LOOK
        dead_letter_topics.ensure(self._group, {source for _, source in topics}, WAIT)
        self._connected().connect(WAIT)

    def _send(self, letters: Sequence[Record]) -> dict[int, str]:
        """Send the letters; why some were not taken, by their position.

        One that is refused may fail others with it, so what was not taken together is sent alone.
        """
        refused: dict[int, str] = {}
        known = [at for at, letter in enumerate(letters) if self._connected().knows(letter.topic)]
        together = self._deliver([(at, letters[at]) for at in known])
        outage = _outage(together)
        for at in sorted(set(range(len(letters))) - set(together.acknowledged)):
            if at not in known:
                refused[at] = f"Kafka does not have the topic {letters[at].topic!r}"
                continue
            alone = Deliveries() if outage else self._send_alone(letters[at])
            outage = outage or _outage(alone)
            if reason := outage or alone.failure:
                refused[at] = reason
        return refused

    def _send_alone(self, letter: Record) -> Deliveries:
        """Send one letter; without its traceback if it is refused with it."""
        deliveries = self._deliver([(0, letter)])
        return self._deliver([(0, without_traceback(letter))]) if deliveries.row_errors else deliveries

    def _deliver(self, letters: Sequence[tuple[int, Record]]) -> Deliveries:
        if not letters:
            return Deliveries()
        self._writing_since = time.monotonic()
        deliveries = self._connected().send(letters, WAIT)
        if deliveries.failure:
            self._let_go()
        return deliveries

    def _connected(self) -> Producer:
        """A producer that Kafka has answered. Raises BrokerUnavailable, or SettingsError for unsafe options."""
        if self._producer is None:
            producer = Producer(config.letter_producer_options())
            producer.connect(WAIT)
            self._producer = producer
        return self._producer

    def _let_go(self) -> None:
        producer, self._producer = self._producer, None
        if producer:
            producer.discard()


def _outage(deliveries: Deliveries) -> str | None:
    """Why nothing more need be tried now: what went wrong is about no letter and no topic."""
    return None if deliveries.row_errors or deliveries.topic_errors else deliveries.failure
