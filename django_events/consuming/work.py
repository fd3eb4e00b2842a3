"""One record at one handler: what has been tried so far, and what is left to do.

No threads here: the group's thread owns it, workers only read it.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from django_events.consuming import dead_letter
from django_events.consuming.failure_report import FailureReport
from django_events.consuming.offsets import InHand, Progress
from django_events.consuming.policy import Tries
from django_events.handlers import Handler
from django_events.kafka.record import ReceivedRecord, Record

if TYPE_CHECKING:
    from django_events.consuming.queues import Queue


@dataclass(slots=True, eq=False)
class Work:
    """A record at one handler, until that is done with it. Changed by the thread that owns the queues; workers only
    read it. Moments are of ``time.monotonic``."""

    handler: Handler
    record: ReceivedRecord
    progress: Progress
    in_hand: InHand
    attempts: int = 0
    """Tries that have failed because of the handler or the record."""
    delays: int = 0
    """Tries in a row that could not even begin, as while the database is down."""
    queue: "Queue" = field(init=False, repr=False)
    """Where it waits; set when it is put there."""
    since: float = field(init=False, default=0.0)
    """The moment from which on it waits there."""
    letter: Record | None = None
    """The dead letter that is to be written: all that is left to do."""
    _first_failed: datetime | None = None
    _failing_since: float = 0.0
    """The moment of the first failure, moved on by tries that could not take place, and their waits."""
    _handed_out: float = 0.0

    @property
    def runs_alone(self) -> bool:
        """Whether it is tried without others: it has failed before, or all that is left is to write its letter."""
        return self.attempts > 0 or self.letter is not None

    def tries(self, now: float) -> Tries:
        """What has been tried."""
        seconds = now - self._failing_since if self._first_failed else 0.0
        return Tries(attempts=self.attempts, delays=self.delays, seconds=seconds)

    def failed(self, now: float) -> None:
        """A try has failed."""
        self.attempts += 1
        self.delays = 0
        if self._first_failed is None:
            self._first_failed, self._failing_since = datetime.now(UTC), now

    def handed_out(self, now: float) -> None:
        """Somebody tries it from this moment on."""
        self._handed_out = now

    def postponed(self, delay: float, now: float) -> None:
        """A try could not take place, and waits so many seconds. Neither counts as time in which it was tried."""
        self.delays += 1
        self._failing_since += delay + now - self._handed_out

    def bury(self, report: FailureReport) -> None:
        """A dead letter is to be written, after the failure that is reported."""
        first = min(self._first_failed or report.at, report.at)
        self.letter = dead_letter.encode(self.handler, self.record, report, self.attempts, first)
