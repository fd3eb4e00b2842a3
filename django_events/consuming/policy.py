"""What an outcome means for the record: whether the offset may pass it, or when it is tried again."""

from dataclasses import dataclass

from django_events.consuming.attempt import Duplicate, Failed, Handled, Outcome, Postponed
from django_events.retry import Backoff

BLOCK = Backoff(first=1.0, max=30.0)
"""Seconds between two tries of a handler that fails; its key waits meanwhile."""

POSTPONE = Backoff(first=0.2, max=10.0)
"""Seconds between two tries while the database is away or a lock is held; such a try does not count."""


@dataclass(frozen=True, slots=True)
class Done:
    """The handler is done with the record for good."""


@dataclass(frozen=True, slots=True)
class Again:
    """The handler is to be tried again."""

    delay: float
    """Seconds from now."""
    counts: bool
    """Whether the try counts as an attempt."""


Decision = Done | Again


def decide(outcome: Outcome, attempts: int, delays: int) -> Decision:
    """What follows from the outcome, after this many failed attempts and postponements before it."""
    match outcome:
        case Handled() | Duplicate():
            return Done()
        case Postponed():
            return Again(POSTPONE.delay(delays + 1), counts=False)
        case Failed():
            return Again(BLOCK.delay(attempts + 1), counts=True)
