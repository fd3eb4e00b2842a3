"""Marks of processed events are forgotten once they are older than PROCESSED_RETENTION."""

import logging
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from django.db import Error as DatabaseError
from django.db import connections, router
from django.utils import timezone

from django_events import handlers, models
from django_events.conf import settings
from django_events.consuming.attempt import database_of
from django_events.consuming.letters import database_of_letters
from django_events.exceptions import EventsError
from django_events.handlers import ConsumerGroup, Delivery, Handler
from django_events.kafka import retention
from django_events.models import ProcessedEvent

logger = logging.getLogger("django_events.processed")

AT_ONCE = 1_000
"""Marks that one transaction forgets."""

PAUSE = 0.1
"""Seconds between two of them, for the sake of others in the database."""

FIRST = 300.0
"""Seconds after its start within which a process looks for the first time; when, is left to chance."""

EVERY = 3_600.0
"""Seconds between two looks, give or take a tenth."""

UNKNOWN = "How long topics keep their events is not known"
NOT_PRUNED = "Old processed events are not pruned"

WAIT = 5.0
"""Seconds that Kafka has to tell how long topics keep their events."""


def too_old() -> datetime | None:
    """The moment before which marks are forgotten; None if none is."""
    remembered = settings.PROCESSED_RETENTION
    return None if remembered is None else timezone.now() - remembered


def prune(before: datetime) -> Iterator[int]:
    """Forget the marks from before this moment; yields how many after each transaction. Raises DatabaseError."""
    for using in databases():
        yield from models.prune(before, AT_ONCE, using, database_of_letters())


def count(before: datetime) -> int:
    """How many marks ``prune`` would forget at most: those of events with an open dead letter stay."""
    return sum(models.count_old(before, using) for using in databases())


def databases() -> list[str]:
    """Those that have marks: of the handlers that are declared, and where the router puts others."""
    of_handlers = {database_of(each) for group in handlers.declared() for each in group.handlers if _has_marks(each)}
    return sorted(of_handlers | {router.db_for_write(ProcessedEvent)})


def exactly_once_topics(groups: Sequence[ConsumerGroup]) -> set[str]:
    """The topics whose events have marks. Those for dead letters are not among them: the table knows each letter."""
    of_events = [each for group in groups for each in group.handlers if _has_marks(each) and not each.dead_letters_of]
    return {topic.name for each in of_events for topic in each.topics}


def have_marks(groups: Sequence[ConsumerGroup]) -> bool:
    """Whether handlers of these groups leave marks, also of dead letters: so there are some to forget."""
    return any(_has_marks(each) for group in groups for each in group.handlers)


def _has_marks(handler: Handler) -> bool:
    return handler.delivery is Delivery.EXACTLY_ONCE


class Pruner(threading.Thread):
    """Says which topics keep events for too long, then prunes from time to time until it is stopped.

    What goes wrong is logged and tried again the next time. ``error`` stays None.
    """

    def __init__(
        self,
        groups: Sequence[ConsumerGroup],
        prepared: Sequence[threading.Event],
        on_change: Callable[[str], None],
        *,
        first: float = FIRST,
        every: float = EVERY,
    ) -> None:
        """``prepared`` are set when the groups' topics have been created as far as they can be. ``on_change`` gets a
        line for each topic, in this thread."""
        super().__init__(name="django-events-pruner", daemon=True)
        self.error: BaseException | None = None
        self.left_running = False  # it runs no handlers
        self.is_stuck = False  # nothing waits for it
        self._topics = exactly_once_topics(groups)
        self._prepared = prepared
        self._on_change = on_change
        self._first = first
        self._every = every
        self._stopping = threading.Event()

    def stop(self, timeout: float) -> None:
        """End after the transaction that runs, whatever ``timeout`` says. Thread-safe, idempotent; returns at once."""
        self._stopping.set()

    def run(self) -> None:
        try:
            is_said = self._quietly(self._say_what_is_kept_too_long, UNKNOWN)
            pause = random.uniform(0, self._first)
            while not self._stopping.wait(pause):
                is_said = is_said or self._quietly(self._say_what_is_kept_too_long, UNKNOWN)
                self._quietly(self._prune, NOT_PRUNED)
                pause = self._every * random.uniform(0.9, 1.1)
        finally:
            connections.close_all()

    def _say_what_is_kept_too_long(self) -> None:
        while not all(event.is_set() for event in self._prepared):
            if self._stopping.wait(0.1):
                return
        for problem in retention.problems(self._topics, WAIT):
            logger.warning("%s", problem)
            self._on_change(problem)

    def _prune(self) -> None:
        before, total = too_old(), 0
        try:
            for pruned in prune(before) if before else ():
                total += pruned
                if self._stopping.wait(PAUSE):
                    break
        finally:
            connections.close_all()
            if total:
                logger.info("Forgot %s processed events from before %s", f"{total:,}", before)

    def _quietly(self, act: Callable[[], None], otherwise: str) -> bool:
        """Whether it was done."""
        try:
            act()
        except (DatabaseError, EventsError) as error:
            logger.warning("%s: %s. It is tried again later", otherwise, str(error).strip())
        except Exception:
            logger.exception("%s. It is tried again later", otherwise)
        else:
            return True
        return False
