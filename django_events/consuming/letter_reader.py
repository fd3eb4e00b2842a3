"""The thread of a group that brings its dead letters from Kafka into the database, where they are worked on."""

import logging
import threading
import time
from collections.abc import Iterator, Sequence

from django.db import DataError, IntegrityError, connections
from django.db import Error as DatabaseError

from django_events import crash_points, metrics, repeats
from django_events.connections import close_obsolete_connections
from django_events.consuming import dead_letter
from django_events.consuming.letter_projection import project
from django_events.consuming.letters import database_of_letters
from django_events.consuming.naming import fields_of_place
from django_events.consuming.slowness import hangs
from django_events.exceptions import BrokerUnavailable
from django_events.handlers import ConsumerGroup
from django_events.kafka import names
from django_events.kafka.consumer import LONGEST_POLL, Consumer
from django_events.kafka.record import Partition, ReceivedRecord
from django_events.log_fields import fields
from django_events.models import Letter
from django_events.retry import Backoff
from django_events.trouble import Trouble

logger = logging.getLogger("django_events.dead_letters")

AT_ONCE = 100
"""Letters that are brought in by one transaction."""

OUTAGE = Backoff(first=0.5, max=10.0)
"""Seconds between two tries while the database does not answer, or a function of the site gives no password."""

COMMIT_INTERVAL = 1.0
"""Seconds between two commits of offsets."""

TRIES_OF_ONE = 3
"""How often one letter that the database refuses is tried alone, before it is left in Kafka."""


class LetterReader(threading.Thread):
    """Reads the dead-letter topics of one group in a consumer group of their own, until it is stopped.

    A letter's offset is committed after the transaction that brings it in. Killed in between, it reads the letter
    again, and the table knows it. ``error`` is what ended it, if it did not end by ``stop``.
    """

    def __init__(self, group: ConsumerGroup, prepared: threading.Event) -> None:
        """``prepared`` is set when the topics have been created as far as they can be."""
        super().__init__(name=f"django-events-{group.name}-dead-letter-reader", daemon=True)
        self.error: BaseException | None = None
        self.left_running = False  # it runs no handlers
        self._turned_at = float("-inf")
        self._group = group
        self._prepared = prepared
        self._sources = {names.dead_letter_topic(topic, group.name): topic for topic in group.dead_letter_sources}
        self._stopping = threading.Event()
        what = f"Bringing in the dead letters of group {group.name}"
        self._trouble = Trouble("dead_letter_table", what, logger, OUTAGE, group=group.name)
        self._polled: list[ReceivedRecord] = []
        """What is about to be brought in."""
        self._next: dict[Partition, int] = {}
        self._committed: dict[Partition, int] = {}
        self._commit_due = 0.0

    @property
    def is_stuck(self) -> bool:
        """Whether this thread hangs. Thread-safe."""
        return hangs(self._turned_at)

    @property
    def trouble(self) -> str:
        """What does not work at this moment; empty if all is well. Thread-safe."""
        return self._trouble.text

    def stop(self, timeout: float) -> None:
        """End after the letters in hand, whatever ``timeout`` says. Thread-safe, idempotent; returns at once."""
        self._stopping.set()

    def run(self) -> None:
        try:
            while not self._prepared.wait(0.1):
                self._turned_at = time.monotonic()
                if self._stopping.is_set():
                    return
            if not self._join():
                return
            try:
                while not self._stopping.is_set():
                    self._bring_in(self._poll())
                    self._commit_if_due()
                self._commit(wait=True)
            finally:
                self._consumer.close()
        except BaseException as error:
            extra = fields(group=self._group.name)
            logger.exception("The reader of the dead letters of group %s ended", self._group.name, extra=extra)
            self.error = error
        finally:
            connections.close_all()

    def _join(self) -> bool:
        """Make the consumer. What a function of the site raises that is to give a password or a token is waited out.
        False if this thread is to end before that."""
        what = f"Reading the dead letters of group {self._group.name}"
        trouble = Trouble("kafka", what, logger, OUTAGE, group=self._group.name)
        while not self._stopping.is_set():
            self._turned_at = time.monotonic()
            try:
                group = names.dead_letter_group(self._group.name)
                self._consumer = Consumer(group, self._sources, self, is_stopping=self._stopping.is_set)
            except BrokerUnavailable as error:
                trouble.began(str(error))
                self._stopping.wait(max(trouble.until - time.monotonic(), 0))
            else:
                trouble.ended()
                return True
        return False

    def _poll(self) -> list[ReceivedRecord]:
        """What Kafka has now, up to a bound; waits a moment if that is nothing."""
        self._polled = []
        timeout = LONGEST_POLL
        self._turned_at = time.monotonic()
        while len(self._polled) < AT_ONCE and (record := self._consumer.poll(timeout)):
            self._polled.append(record)
            timeout = 0.0
        if not self._polled:
            close_obsolete_connections()
        return self._polled

    def _bring_in(self, records: Sequence[ReceivedRecord]) -> None:
        """Have the records in the table, however long the database is away; then let their offsets pass."""
        if not records or not self._project(records):
            return
        if crash_points.armed:
            crash_points.reached("dead-letters-projected")
        self._next |= {record.partition: record.offset + 1 for record in records}

    def _project(self, records: Sequence[ReceivedRecord]) -> bool:
        """Bring the records in, together or, if the database refuses something in them, one by one. False if this
        thread is to end first."""
        refusals = 0
        while not self._stopping.is_set():
            self._turned_at = time.monotonic()
            try:
                project([*self._letters(records)])
            except (DataError, IntegrityError) as error:
                refusals += 1
                if len(records) > 1:
                    return all(self._project([record]) for record in records)
                if refusals >= TRIES_OF_ONE:
                    self._leave_in_kafka(records[0], error)
                    return True
            except DatabaseError as error:
                connections[database_of_letters()].close()
                self._trouble.began(_reason(error))
                self._stopping.wait(max(self._trouble.until - time.monotonic(), 0))
            else:
                self._trouble.ended()
                for record in records:
                    metrics.LETTERS_READ.of(self._group.name, self._sources[record.topic]).add()
                return True
        return False

    def _letters(self, records: Sequence[ReceivedRecord]) -> Iterator[Letter]:
        for record in records:
            yield from dead_letter.decode(record, self._group, self._sources[record.topic])

    def _leave_in_kafka(self, record: ReceivedRecord, error: Exception) -> None:
        repeats.log(
            logger,
            logging.ERROR,
            (self._group.name, type(error)),
            "The dead letter %s cannot be brought in: %s. It is left in Kafka, and the next ones go on; once the cause "
            "is mended, run: manage.py events dead-letters rebuild",
            record,
            str(error).strip(),
            extra=fields_of_place(record.partition, record.offset) | fields(group=self._group.name),
        )

    def _commit_if_due(self) -> None:
        now = time.monotonic()
        if now >= self._commit_due:
            self._commit_due = now + COMMIT_INTERVAL
            self._commit(wait=False)

    def _commit(self, *, wait: bool) -> None:
        """Commit how far the letters are brought in; with ``wait`` also what was committed and may not have arrived.

        Whether an earlier commit has failed is known only later: then it is made again.
        """
        for partition in self._consumer.take_uncommitted():
            self._committed.pop(partition, None)
        due = {each: offset for each, offset in self._next.items() if wait or self._committed.get(each) != offset}
        if due and (wait or not self._consumer.is_committing):
            self._consumer.commit(due, wait=wait)
            self._committed |= due

    # ── assignment; called by the consumer inside poll and close ─────────────────────────────────────────────────

    def assigned(self, partitions: list[Partition]) -> None:
        """Nothing to do: where to read them, ``kafka/starting.py`` has told librdkafka already."""

    def revoked(self, partitions: list[Partition]) -> None:
        """What is brought in is committed already, or comes again to where it is known."""
        self._commit(wait=True)
        self.lost(partitions)

    def lost(self, partitions: list[Partition]) -> None:
        """Another process reads them now, also what was polled and is not brought in: with its offsets here, a later
        commit would take the group back."""
        self._polled = [record for record in self._polled if record.partition not in partitions]
        for partition in partitions:
            self._next.pop(partition, None)
            self._committed.pop(partition, None)


def _reason(error: DatabaseError) -> str:
    return f"{str(error).strip()} (are all migrations applied?)" if "exist" in str(error) else str(error).strip()
