"""What the log and the site's receivers learn of attempts that did not succeed."""

import logging
from typing import Any

from django_events import repeats, signals
from django_events.cloudevents import to_text
from django_events.conf import settings
from django_events.consuming.dead_letter import EXCEPTION, ID
from django_events.consuming.letters import letter_record
from django_events.consuming.metrics import count_failure
from django_events.consuming.naming import fields_of_record, name_of_record
from django_events.consuming.outcome import Failed, LetterRefused, Outcome, Postponed
from django_events.consuming.policy import FOR_EVER, Again, Buried, Decision, Discarded, Ignored
from django_events.consuming.work import Work
from django_events.exceptions import DecodeError
from django_events.handlers import Handler
from django_events.kafka.record import ReceivedRecord
from django_events.models import DeadLetter, Tried

logger = logging.getLogger("django_events.group")


def say_what_follows(work: Work, outcome: Outcome, decision: Decision) -> None:
    """Log and count an outcome that is no success, and send ``event_failed`` if the handler failed. Called before it
    follows."""
    count_failure(work, outcome, decision)
    match outcome:
        case Failed():
            _say_failed(work, outcome, decision)
        case Postponed(error=error) if not work.delays:
            repeats.log(
                logger,
                logging.WARNING,
                (work.handler.group, work.handler.name, type(error)),
                "Handler %s has to wait with record %s: %s",
                work.handler,
                _record(work),
                error,
                extra=_fields(work),
            )
        case LetterRefused(reason=reason) if not work.delays:
            repeats.log(
                logger,
                logging.ERROR,
                (work.handler.group, work.handler.name, reason),
                "The dead letter of record %s at handler %s could not be written: %s. Its partition waits; "
                "it is tried again until it works",
                _record(work),
                work.handler,
                reason,
                extra=fields_of_record(work.handler, work.record, work.attempts),
            )


def _say_failed(work: Work, failure: Failed, decision: Decision) -> None:
    level, what = _what_follows(decision)
    text = "Handler %s failed with record %s (attempt %d): %s"
    arguments: tuple[object, ...] = (work.handler, _record(work), work.attempts + 1, what)
    error: BaseException | None = None
    if isinstance(decision, Ignored) or isinstance(failure.error, DecodeError):  # where it was raised says nothing more
        text, arguments = f"{text}. %s", (*arguments, failure.report.message)
    elif settings.REDACT:  # the error itself may hold what is hidden
        text, arguments = f"{text}\n%s", (*arguments, failure.report.traceback.rstrip())
    else:
        error = failure.error
    kind = (work.handler.group, work.handler.name, failure.report.exception, type(decision))
    repeats.log(logger, level, kind, text, *arguments, exc_info=error, extra=_fields(work))
    _tell_failed(work.handler, work.record, work.attempts + 1, failure, type(decision).__name__.lower(), None)


def tell_letter_failed(letter: DeadLetter, handler: Handler, failure: Failed, result: Tried) -> None:
    """Send ``event_failed`` for a dead letter that was tried again. Called before the result is written down."""
    follows = "ignored" if result.resolved else "again" if result.automatic else "kept"
    _tell_failed(handler, letter_record(letter), letter.attempts + 1, failure, follows, letter.pk)


def _tell_failed(
    handler: Handler, record: ReceivedRecord, attempt: int, failure: Failed, follows: str, letter: int | None
) -> None:
    signals.tell(
        signals.event_failed,
        handler.function,
        record=record,
        group=handler.group,
        handler=handler.name,
        attempt=attempt,
        exception=failure.report.exception,
        follows=follows,
        dead_letter=letter,
    )


def tell_dead_lettered(work: Work) -> None:
    """Send ``event_dead_lettered``: Kafka has the letter of this work."""
    if work.letter is None or not signals.event_dead_lettered.has_listeners():
        return
    about = dict(work.letter.headers)
    signals.tell(
        signals.event_dead_lettered,
        work.handler.function,
        record=work.record,
        group=work.handler.group,
        handler=work.handler.name,
        attempts=work.attempts,
        exception=to_text(about[EXCEPTION]),
        letter_id=to_text(about[ID]),
        letter_topic=work.letter.topic,
    )


def _record(work: Work) -> str:
    return name_of_record(work.handler, work.record)


def _fields(work: Work) -> dict[str, Any]:
    return fields_of_record(work.handler, work.record, work.attempts + 1)


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
