"""Dead letters on the wire: an event that a handler has failed with, and what is known of the failure.

Key, body and headers are the event's own. What is added stands in ``dead-letter-*`` headers, each once.
"""

import uuid
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime

from django_events import cloudevents, redaction
from django_events.consuming import bodies
from django_events.consuming.failure_report import FailureReport, fingerprint
from django_events.consuming.letter_headers import PREFIX, event_of, is_ours, number
from django_events.consuming.marks import digest, for_people, mark_key
from django_events.exceptions import DecodeError
from django_events.failures import FailurePolicy
from django_events.handlers import ConsumerGroup, Handler
from django_events.kafka import names, spec
from django_events.kafka.record import Headers, ReceivedRecord, Record
from django_events.models import Letter
from django_events.receiving import moment

ID = f"{PREFIX}id"
EXCEPTION = f"{PREFIX}exception"
TRACEBACK = f"{PREFIX}traceback"

_MOST_ADDED = spec.HEADROOM - 1_024
"""Bytes of added headers: the limit of a dead-letter topic lies HEADROOM above its source's; 1,024 of them are left for
what Kafka puts around a record."""

_LENGTHS = 10
"""Bytes at most that Kafka writes in front of a header's name and value: their lengths."""

MOST_ATTEMPTS = 1_000_000
"""What a letter may say; the numbers of several are added up, and each further try counts."""

YEARS = range(1970, 9_000)
"""What a letter may say; databases and time zones cannot do with the first and last ones that Python knows."""


# ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def encode(
    handler: Handler, record: ReceivedRecord, report: FailureReport, attempts: int, first_failed: datetime
) -> Record:
    """The letter of a record that this handler has failed with so often. Each call gives it another id."""
    added = {
        "id": str(uuid.uuid4()),
        "handler": handler.name,
        "attempts": str(attempts),
        "exception": report.exception,
        "message": report.message,
        "first-failed": first_failed.isoformat(),
        "last-failed": report.at.isoformat(),
        "topic": record.topic,
        "partition": str(record.partition.number),
        "offset": str(record.offset),
        "traceback": report.traceback,
    }
    headers: Headers = [(name, value) for name, value in record.headers if not is_ours(name)]
    headers += [(PREFIX + name, text.encode()) for name, text in added.items()]
    letter = Record(names.dead_letter_topic(record.topic, handler.group), record.key, record.value, headers)
    return without_traceback(letter) if _size(letter.headers) - _size(record.headers) > _MOST_ADDED else letter


def without_traceback(letter: Record) -> Record:
    """The letter without what may be left out if it is too large."""
    return letter._replace(headers=[(name, value) for name, value in letter.headers if name != TRACEBACK])


def _size(headers: Headers) -> int:
    return sum(len(name.encode()) + len(value or b"") + _LENGTHS for name, value in headers)


# ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def decode(record: ReceivedRecord, group: ConsumerGroup, source: str) -> Iterator[Letter]:
    """What a record of a dead-letter topic tells, as rows can keep it. Never raises: strangers may write there, too.

    ``source`` is the topic that the letter's event comes from. A letter that names no handler is one of each handler
    of the group that keeps its dead letters. What REDACT hides of the event is in no text of its error: another program
    that wrote it may hide nothing, or something else.
    """
    about = {
        name.lower().removeprefix(PREFIX): for_people(cloudevents.to_text(value) or "")
        for name, value in record.headers
        if is_ours(name)
    }
    declared = {handler.name: handler for handler in group.handlers_of(source)}
    event = event_of(record, source)
    hidden = bodies.secrets_of(event)
    about |= {name: redaction.text(about[name], hidden) for name in ("message", "traceback") if name in about}
    for name in [about["handler"]] if about.get("handler") else _keepers(declared.values()):
        yield _letter(record, event, about, group.name, name[:200], declared.get(name))


def _keepers(handlers: Collection[Handler]) -> list[str]:
    """The handlers whose letter it may be; one without name if there is none, so that it is kept all the same."""
    return [handler.name for handler in handlers if handler.policy.on_failure.writes_dead_letters] or [""]


def _letter(
    record: ReceivedRecord,
    event: ReceivedRecord,
    about: Mapping[str, str],
    group: str,
    name: str,
    handler: Handler | None,
) -> Letter:
    identity, event_id = _identity(event)
    place = f"{record.topic} {record.partition.number} {record.offset}"
    exception, message = about.get("exception", "")[-200:], about.get("message", "")
    last_failed = _time(about.get("last-failed"), _time_of(record))
    # Where the handler is not declared, another process may know it (a rolling deploy): that one decides when it tries.
    policy = handler.policy if handler else FailurePolicy()
    key = cloudevents.to_text(record.key)
    return Letter(
        letter_key=digest(about.get("id") or place, group, name),
        event_key=mark_key(identity, group, name),
        queue_key=None if record.key is None else digest(group, name, event.topic, key or ""),
        topic=event.topic,
        group_name=group,
        handler=name,
        partition=event.partition.number,
        offset=event.offset,
        letter_partition=record.partition.number,
        letter_offset=record.offset,
        event_id=for_people(event_id),
        key=record.key,
        key_text=None if key is None else for_people(key),
        value=record.value,
        headers=event.headers,
        attempts=number(about.get("attempts"), 1, MOST_ATTEMPTS),
        first_failed=min(_time(about.get("first-failed"), last_failed), last_failed),
        last_failed=last_failed,
        exception=exception,
        message=message,
        traceback=about.get("traceback", ""),
        fingerprint=fingerprint(group, name, event.topic, exception, message),
        automatic=policy.tries_later(exception),
        first_delay=policy.later.delay(1),
    )


def _identity(event: ReceivedRecord) -> tuple[tuple[str, str, str], str]:
    """The event's identity, and its id for people."""
    try:
        attributes = cloudevents.decode(event)
    except DecodeError:
        return cloudevents.place_of(event), ""
    return cloudevents.identity(event, attributes), attributes.id or cloudevents.made_up_id(event, attributes)


def _time_of(record: ReceivedRecord) -> datetime:
    found = moment(record.timestamp)
    return found if found and found.year in YEARS else datetime.now(UTC)


def _time(text: str | None, otherwise: datetime) -> datetime:
    try:
        found = datetime.fromisoformat(text) if text else otherwise
    except ValueError:
        return otherwise
    if found.year not in YEARS:
        return otherwise
    return found if found.tzinfo else found.replace(tzinfo=UTC)
