"""What the outcome of a dead letter's try means for the letter."""

from datetime import UTC, datetime

from django_events.consuming.failure_report import fingerprint
from django_events.consuming.outcome import Duplicate, Failed, Handled, Outcome, Postponed
from django_events.consuming.policy import POSTPONE
from django_events.exceptions import IgnoreError
from django_events.failures import OnFailure
from django_events.handlers import Handler
from django_events.models import ALREADY, DeadLetter, Tried


def tried(outcome: Outcome, handler: Handler, letter: DeadLetter, began: datetime, host: str) -> Tried:
    """What is to be written down."""
    match outcome:
        case Handled():
            return _resolved("", began, host)
        case Duplicate():
            return _resolved(ALREADY, began, host)
        case Failed(error=IgnoreError(), report=report):
            return _resolved(f"passed over: {report.message}", began, host)
        case Failed():
            return _failed(outcome, handler, letter, began, host)
        case Postponed(error=error):
            return _no_try(str(error), began, host)
        case _:
            return _no_try("", began, host)


def _resolved(reason: str, began: datetime, host: str) -> Tried:
    return Tried(resolved=True, counts=True, reason=reason, began=began, ended=datetime.now(UTC), host=host)


def _no_try(reason: str, began: datetime, host: str) -> Tried:
    """It is still the letter's turn, in a moment."""
    return Tried(
        resolved=False, counts=False, reason=reason, delay=POSTPONE.max, began=began, ended=datetime.now(UTC), host=host
    )


def _failed(failure: Failed, handler: Handler, letter: DeadLetter, began: datetime, host: str) -> Tried:
    report, policy = failure.report, handler.policy
    return Tried(
        resolved=False,
        counts=True,
        exception=report.exception,
        message=report.message,
        traceback=report.traceback,
        fingerprint=fingerprint(handler.group, handler.name, letter.topic, report.exception, report.message),
        automatic=policy.on_failure is OnFailure.RETRY_LATER and not policy.is_hopeless(failure.error),
        delay=policy.later.delay(letter.retries + 2),  # the first delay was that of a new letter
        began=began,
        ended=report.at,
        host=host,
    )
