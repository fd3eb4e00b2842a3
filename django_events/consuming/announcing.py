"""What the log and the site's receivers learn of attempts that did not succeed."""

import logging

from django_events import signals
from django_events.conf import settings
from django_events.consuming.metrics import failed
from django_events.consuming.naming import name_of_record
from django_events.consuming.outcome import Failed, LetterRefused, Outcome, Postponed
from django_events.consuming.policy import FOR_EVER, Again, Buried, Decision, Discarded, Ignored
from django_events.consuming.work import Work
from django_events.exceptions import DecodeError

logger = logging.getLogger("django_events.group")


def say_what_follows(work: Work, outcome: Outcome, decision: Decision) -> None:
    """Log and count an outcome that is no success, and send ``event_failed`` if the handler failed. Called before it
    follows."""
    failed(work, outcome, decision)
    match outcome:
        case Failed():
            _say_failed(work, outcome, decision)
        case Postponed(error=error) if not work.delays:
            logger.warning("Handler %s has to wait with record %s: %s", work.handler, _record(work), error)
        case LetterRefused(reason=reason) if not work.delays:
            logger.error(
                "The dead letter of record %s at handler %s could not be written: %s. Its partition waits; "
                "it is tried again until it works",
                _record(work),
                work.handler,
                reason,
            )


def _say_failed(work: Work, failure: Failed, decision: Decision) -> None:
    level, what = _what_follows(decision)
    text = "Handler %s failed with record %s (attempt %d): %s"
    arguments = (work.handler, _record(work), work.attempts + 1, what)
    if isinstance(decision, Ignored) or isinstance(failure.error, DecodeError):  # where it was raised says nothing more
        logger.log(level, f"{text}. %s", *arguments, failure.report.message)
    elif settings.REDACT:  # the error itself may hold what is hidden
        logger.log(level, f"{text}\n%s", *arguments, failure.report.traceback.rstrip())
    else:
        logger.log(level, text, *arguments, exc_info=failure.error)
    try:
        signals.event_failed.send_robust(
            sender=work.handler.function,
            record=work.record,
            group=work.handler.group,
            handler=work.handler.name,
            attempt=work.attempts + 1,
            exception=failure.report.exception,
            follows=type(decision).__name__.lower(),
        )
    except BaseException:  # a receiver that wants to end the process: this thread has all other events, too
        logger.exception("A receiver of event_failed failed")


def _record(work: Work) -> str:
    return name_of_record(work.handler, work.record)


def _what_follows(decision: Decision) -> tuple[int, str]:
    match decision:
        case Again(delay=delay) if delay == FOR_EVER:
            return logging.ERROR, "its key waits until this process is replaced by one that can handle it"
        case Again(delay=delay):
            return logging.ERROR, f"its key waits, next try in {delay:.1f} s"
        case Buried():
            return logging.ERROR, "it becomes a dead letter"
        case Discarded():
            return logging.ERROR, "it is discarded"
        case Ignored():
            return logging.INFO, "it is passed over"
    return logging.ERROR, "it is done with"
