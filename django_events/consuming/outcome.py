"""What became of one record at one handler, or of its dead letter."""

from dataclasses import dataclass

from django_events.consuming.failure_report import FailureReport, describe
from django_events.kafka.record import ReceivedRecord


@dataclass(frozen=True, slots=True)
class Handled:
    """The handler took effect."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The handler's effects of this event are committed already; it was not called."""


@dataclass(frozen=True, slots=True)
class NotBegun:
    """Nothing has been tried, or all of it was undone: the time of the unit was over, an earlier event of the key has
    failed, or the partition is being given up."""


@dataclass(frozen=True, slots=True)
class Postponed:
    """The try could not take place: the database is away, or another transaction holds the event's mark."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Failed:
    """The handler, or the record, is at fault."""

    error: BaseException
    report: FailureReport


@dataclass(frozen=True, slots=True)
class LetterWritten:
    """Kafka has acknowledged the dead letter."""


@dataclass(frozen=True, slots=True)
class LetterRefused:
    """Kafka has not taken the dead letter."""

    reason: str


Outcome = Handled | Duplicate | NotBegun | Postponed | Failed | LetterWritten | LetterRefused


def failed(error: BaseException, record: ReceivedRecord) -> Failed:
    """The handler is at fault with this record. Keeps no traceback alive beyond its text and the error itself."""
    return Failed(error, describe(error, record))
