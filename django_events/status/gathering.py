"""Asks everybody how they are: the databases, and Kafka for a bounded time. Changes nothing.

Whatever cannot be asked is part of the answer. No question reads more than some thousand rows of a table.
"""

from collections.abc import Callable
from typing import TypeVar

from django.db import Error as DatabaseError
from django.db.models import Count, Min, Q
from django.utils import timezone

from django_events import handlers, registry
from django_events.conf import settings
from django_events.consuming.letters import database_of_letters
from django_events.exceptions import EventsError
from django_events.kafka import config, consumer_groups, topics
from django_events.kafka.consumer_groups import GroupState
from django_events.models import COUNTED, IS_OPEN, Backlog, DeadLetter, Failure, Kind, OutgoingEvent, Process, State
from django_events.models.statements import bound_statements
from django_events.models.windows import reading_along_indexes, window
from django_events.presence.activity import decode
from django_events.presence.beating import database as database_of_processes
from django_events.receiving import moment
from django_events.status.differing import differences
from django_events.status.overview import (
    FailureLine,
    GroupLine,
    Letters,
    Overview,
    ProcessLine,
    TopicBacklog,
    Unreadable,
)

PATIENCE = 2.0
"""Seconds that Kafka has for each answer."""

DATABASE_PATIENCE = 10.0
"""Seconds that a database has for each statement (PostgreSQL): somebody may have locked a table."""

SHOWN_FAILURES = 20
"""Failures that are told; those with the most open letters."""

Found = TypeVar("Found")


def gather(patience: float = PATIENCE) -> Overview:
    """How all is. Blocks for Kafka ``patience`` seconds, some times that if it falls silent in the middle, and for as
    long as the databases take: to connect what their settings say, then ten seconds for each statement. Thread-safe.
    Raises SettingsError for settings that cannot be."""
    outbox, databases = _outbox()
    kafka = _kafka(patience)
    groups, unknown_groups = _groups(kafka, patience)
    processes, unknown = _asked(database_of_processes(), _processes)
    found, unknown_letters = _asked(database_of_letters(), _dead_letters)
    return Overview(
        at=timezone.now(),
        brokers=_brokers(),
        kafka=kafka,
        databases=databases,
        outbox=outbox,
        groups=groups,
        unknown_groups=unknown_groups,
        failures=found[1] if found else (),
        letters=found[0] if found else None,
        unknown_letters=unknown_letters,
        processes=processes or (),
        unknown_processes=unknown,
        differences=differences(processes or (), registry.digests(handlers.declared())),
    )


def _asked(using: str, ask: Callable[[str], Found]) -> tuple[Found | None, Unreadable | None]:
    """The answer of this database, or why there is none."""
    try:
        with reading_along_indexes(using):  # in a savepoint, so that an error breaks nothing around it
            bound_statements(using, DATABASE_PATIENCE)
            return ask(using), None
    except DatabaseError as error:
        return None, Unreadable(what=using, reason=str(error).strip().partition("\n")[0])


def _outbox() -> tuple[tuple[TopicBacklog, ...], tuple[Unreadable, ...]]:
    lines: list[TopicBacklog] = []
    problems: list[Unreadable] = []
    for using in settings.DATABASES:
        found, problem = _asked(using, OutgoingEvent.objects.backlogs)
        lines += [_topic_backlog(using, backlog) for backlog in found or ()]
        problems += [problem] if problem else []
    return tuple(lines), tuple(problems)


def _topic_backlog(using: str, backlog: Backlog) -> TopicBacklog:
    age = (timezone.now() - backlog.oldest).total_seconds() if backlog.oldest else None
    return TopicBacklog(
        database=using,
        topic=backlog.topic,
        waiting=backlog.waiting,
        oldest=None if age is None else max(age, 0.0),
        set_aside=backlog.set_aside,
    )


def _kafka(patience: float) -> Unreadable | None:
    """Why Kafka does not answer; None if it does."""
    try:
        topics.metadata(*topics.client(), patience)
    except EventsError as error:
        return Unreadable(what=_brokers(), reason=str(error))
    return None


def _brokers() -> str:
    """Where Kafka is, as far as the settings tell."""
    try:
        return config.brokers()
    except EventsError:  # a wrong type, or a function that raises: ``_kafka`` says which
        return "an unknown address"


def _groups(kafka: Unreadable | None, patience: float) -> tuple[tuple[GroupLine, ...], Unreadable | None]:
    """What Kafka tells of them, if it answers; or why it does not tell."""
    if kafka:
        return (), None
    wanted = {group.name: group.sources for group in handlers.declared() if group.handlers}
    try:
        return tuple(map(_group_line, consumer_groups.survey(wanted, patience))), None
    except EventsError as error:
        return (), Unreadable(what=_brokers(), reason=str(error))


def _group_line(state: GroupState) -> GroupLine:
    written = [found for each in state.partitions if (found := moment(each.oldest))]
    age = (timezone.now() - min(written)).total_seconds() if written else None
    return GroupLine(
        name=state.name,
        state=state.state,
        members=len(state.members),
        lag=state.lag,
        oldest=None if age is None else max(age, 0.0),
        missing_topics=state.missing_topics,
    )


def _dead_letters(using: str) -> tuple[Letters, tuple[FailureLine, ...]]:
    return _letters(using), _failures(using)


def _failures(using: str) -> tuple[FailureLine, ...]:
    seen_lately = window(Failure.objects.using(using), ["last_seen"])
    worst = seen_lately.filter(letters_open__gt=0).order_by("-letters_open", "pk")[:SHOWN_FAILURES]
    return tuple(
        FailureLine(
            pk=each.pk,
            open_letters=each.letters_open,
            group=each.group_name,
            handler=each.handler,
            topic=each.topic,
            exception=each.exception,
            message="" if settings.REDACT else each.message,
        )
        for each in worst
    )


def _letters(using: str) -> Letters:
    rows = DeadLetter.objects.using(using)
    is_open = window(rows.filter(IS_OPEN), ["last_failed"], backwards=False, size=COUNTED).aggregate(
        waiting=_count(state=State.WAITING),
        asked_for=_count(state=State.WAITING, due_at=None, automatic=False),
        running=_count(state=State.RUNNING),
        first=Min("first_failed"),
    )
    closed = window(rows, ["last_failed"], size=COUNTED).aggregate(
        resolved=_count(state=State.RESOLVED), discarded=_count(state=State.DISCARDED)
    )
    first = is_open.pop("first")
    oldest = (timezone.now() - first).total_seconds() if first else None
    return Letters(oldest=oldest, **is_open, **closed)


def _count(**chosen: object) -> Count:
    return Count("pk", filter=Q(**chosen))


def _processes(using: str) -> tuple[ProcessLine, ...]:
    """Those that say something first, and of them those that do most for others."""
    lines = (
        ProcessLine(
            kind=row.kind,
            host=row.host,
            pid=row.pid,
            version=row.version,
            age=age.total_seconds(),
            silent_for=silent_for.total_seconds(),
            activity=decode(row.activity),
        )
        for row, silent_for, age in Process.objects.known(using)
    )
    place = {kind: number for number, kind in enumerate(Kind.values)}
    return tuple(sorted(lines, key=lambda line: (line.is_silent, place.get(line.kind, -1), line.host, line.pid)))
