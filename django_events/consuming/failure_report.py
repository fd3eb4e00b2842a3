"""An exception becomes text: for the log, for the dead letter, and to see which failures are alike."""

import re
import traceback
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from django_events import cloudevents, redaction
from django_events.consuming import bodies
from django_events.failures import name_of
from django_events.kafka.record import ReceivedRecord

LONGEST_MESSAGE = 2_000
"""Characters of an error's text that are kept."""

LONGEST_TRACEBACK = 24_000
"""Characters of a traceback that are kept: its begin and, the greater part, its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureReport:
    """What is known of one failed try. Immutable; its texts have no NUL, no half characters, and nothing hidden."""

    exception: str
    """The type's name, with its module unless it is Python's own; up to 200 characters."""
    message: str
    traceback: str
    at: datetime
    """When it failed, UTC."""


def describe(error: BaseException, record: ReceivedRecord) -> FailureReport:
    """Describe the error of a try with this record. Never raises: exceptions may have a ``__str__`` that does."""
    hidden = bodies.secrets_of(record)
    return FailureReport(
        exception=bodies.printable(name_of(type(error))),
        message=_cut(redaction.text(bodies.printable(_text(error)), hidden), LONGEST_MESSAGE),
        traceback=_cut_middle(redaction.text(bodies.printable(_traceback(error)), hidden)),
        at=datetime.now(UTC),
    )


def fingerprint(group: str, handler: str, topic: str, exception: str, message: str) -> uuid.UUID:
    """The same for failures that are alike: numbers, ids and quoted words in the error's text do not count."""
    alike = _VARYING.sub("…", message.partition("\n")[0])[:200]
    parts = [group, handler, topic, exception, alike]
    return uuid.UUID(bytes=cloudevents.digest(part.encode("utf-8", "replace") for part in parts).digest())


_VARYING = re.compile(
    r"""
    '[^']*' | "[^"]*"                      # quoted words
    | \b[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}\b  # UUIDs
    | \b0x[0-9a-fA-F]+\b
    | \b\w*\d\w*\b                         # whatever has a digit in it
    """,
    re.VERBOSE,
)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:
        return f"(its text cannot be had: {type(broken).__qualname__})"


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception as broken:
        return f"(the traceback cannot be had: {type(broken).__qualname__})"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _cut_middle(text: str) -> str:
    if len(text) <= LONGEST_TRACEBACK:
        return text
    head = LONGEST_TRACEBACK // 6
    return f"{text[:head]}\n…\n{text[head + 3 - LONGEST_TRACEBACK :]}"
