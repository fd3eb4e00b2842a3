"""What an outcome means: whether the offset may pass the record, when it is tried again, or what failure it is."""

from dataclasses import dataclass

from django_events.consuming.failure_report import FailureReport
from django_events.consuming.outcome import (
    Duplicate,
    Failed,
    Handled,
    LetterRefused,
    LetterWritten,
    NotBegun,
    Outcome,
    Postponed,
)
from django_events.exceptions import IgnoreError
from django_events.failures import FailurePolicy, OnFailure
from django_events.retry import Backoff

POSTPONE = Backoff(first=0.2, max=10.0)
"""Seconds between two tries while the database is away, a lock is held, or Kafka does not take a dead letter; such a
try does not count."""

FOR_EVER = float("inf")


@dataclass(frozen=True, slots=True)
class Done:
    """The handler is done with the record for good."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """The handler wants the record passed over."""


@dataclass(frozen=True, slots=True)
class Again:
    """The handler is to be tried again."""

    delay: float
    """Seconds from now; infinite if only another process could do better."""
    counts: bool
    """Whether the try counts as an attempt."""


@dataclass(frozen=True, slots=True)
class Discarded:
    """The record is given up for this handler."""


@dataclass(frozen=True, slots=True)
class Buried:
    """The record is to become a dead letter."""

    report: FailureReport


Decision = Done | Ignored | Again | Discarded | Buried


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    """What has been tried before an outcome."""

    attempts: int
    """Failed attempts."""
    delays: int
    """Tries in a row that could not take place."""
    seconds: float
    """Since the first failed attempt, without the waits of tries that could not take place."""


def decide(outcome: Outcome, policy: FailurePolicy, tries: Tries) -> Decision:
    """What follows from the outcome of a record at a handler with this policy."""
    match outcome:
        case Handled() | Duplicate() | LetterWritten():
            return Done()
        case NotBegun():
            return Again(0.0, counts=False)
        case Postponed() | LetterRefused():
            return Again(POSTPONE.delay(tries.delays + 1), counts=False)
        case Failed(error=IgnoreError()):
            return Ignored()
        case Failed():
            return _after_failure(outcome, policy, tries)


def _after_failure(failure: Failed, policy: FailurePolicy, tries: Tries) -> Decision:
    attempts = tries.attempts + 1
    delay = policy.backoff.delay(attempts)
    hopeless = policy.is_hopeless(failure.error)
    if policy.on_failure is OnFailure.BLOCK:
        return Again(FOR_EVER if hopeless else delay, counts=True)
    if not (hopeless or _is_used_up(policy, attempts, tries.seconds + delay)):
        return Again(delay, counts=True)
    return Discarded() if policy.on_failure is OnFailure.DISCARD else Buried(failure.report)


def _is_used_up(policy: FailurePolicy, attempts: int, seconds: float) -> bool:
    """Whether so many attempts are all, or the next would come too late."""
    if policy.attempts is not None and attempts >= policy.attempts:
        return True
    return policy.timeout is not None and seconds > policy.timeout
