"""Whether this process is alive and can do its work: for the probes of supervisors and load balancers.

Kafka does not count: while it is away, the outbox takes the events, and a process that is started again finds no other
Kafka. Nothing here asks Kafka; what is known comes from the threads that talk to it anyway.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from django.contrib.auth.decorators import login_not_required
from django.db import Error as DatabaseError
from django.db import connections
from django.db.migrations.loader import MigrationLoader
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from django_events import broadcasting, tables
from django_events.conf import settings
from django_events.connections import without_transaction
from django_events.consuming import service
from django_events.consuming.in_process import in_process
from django_events.producing.immediate import immediate
from django_events.producing.relay import relay
from django_events.web import broadcast_is_live

logger = logging.getLogger("django_events.health")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    """``relay``, ``broadcast``, ``services``, ``database <alias>`` or ``kafka``."""
    problem: str = ""
    """What is wrong, for operators; empty if nothing is. May name hosts."""


@dataclass(frozen=True, slots=True)
class Health:
    """What was looked at, and whether all of it is well."""

    checks: tuple[Check, ...]

    @property
    def is_well(self) -> bool:
        return not any(check.problem for check in self.checks)


# ── functions ────────────────────────────────────────────────────────────────────────────────────────────────────────


def liveness() -> Health:
    """Whether what runs here runs: false where only a new process would help. Thread-safe; asks nobody.

    Looked at are the relay, the broadcast handlers of a web process and each ``Service``: their threads are there and
    go their rounds, and no handler has been running for over a minute. What does not run here is well. An outage of
    Kafka or of the database changes nothing.
    """
    broadcast = in_process.running
    services = service.running()
    return Health(
        (
            Check("relay", "" if relay.is_healthy else "the thread that sends events hangs or has ended"),
            Check("broadcast", "" if broadcast is None or broadcast.is_healthy else _HANGS.format("broadcast handler")),
            Check("services", "" if all(each.is_healthy for each in services) else _HANGS.format("consumer group")),
        )
    )


_HANGS = "a thread of a {} hangs or has ended, or a handler has been running for over a minute; the log names it"


def readiness(*, kafka: bool = False, broadcast: bool = False) -> Health:
    """Whether this process can do its work: the databases with an outbox answer and have our migrations. Thread-safe;
    waits for the database as long as its settings let it.

    ``kafka``: also whether those who talk to Kafka here have been answered when they last tried; for a site that can do
    nothing without it, as with ``send_now``, of which a call in vain counts for 30 seconds at most. ``broadcast``: also
    whether broadcast handlers are up to date (``broadcast_is_live``); for one whose answers come from caches that they
    keep.
    """
    checks = [] if tables.there_are_none() else [_database(alias) for alias in settings.DATABASES]
    if kafka:
        checks.append(Check("kafka", _trouble_with_kafka()))
    if broadcast and broadcasting.declared():
        checks.append(Check("broadcast", "" if broadcast_is_live() else "what broadcast handlers know is too old"))
    return Health(tuple(checks))


# ── views ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@never_cache
@require_safe
@login_not_required
@without_transaction
def live(request: HttpRequest) -> JsonResponse:
    """``liveness`` as a view: 200, or 503. Says what is well and what is not, and no more: anybody may ask."""
    return _response("live", liveness())


@never_cache
@require_safe
@login_not_required
@without_transaction
def ready(request: HttpRequest, *, kafka: bool = False, broadcast: bool = False) -> JsonResponse:
    """``readiness`` as a view, likewise; its options are those of the ``path()``."""
    return _response("ready", readiness(kafka=kafka, broadcast=broadcast))


def _response(what: str, health: Health) -> JsonResponse:
    for check in health.checks:
        _say_change(what, check)
    checks = {check.name: not check.problem for check in health.checks}
    return JsonResponse({what: health.is_well, "checks": checks}, status=200 if health.is_well else 503)


_said: dict[tuple[str, str], str] = {}


def _say_change(what: str, check: Check) -> None:
    """One line when a check fails for a new reason, and one when it is well again."""
    before = _said.get((what, check.name), "")
    _said[what, check.name] = check.problem
    if check.problem and check.problem != before:
        logger.error("This process is not %s: %s", what, check.problem)
    elif before and not check.problem:
        logger.warning("This process is %s again, as far as %s is concerned", what, check.name)


# ── checks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _database(alias: str) -> Check:
    try:
        problem = _twice(_problem_of_database, alias)
    except DatabaseError as error:
        problem = f"database {alias!r} does not answer: {str(error).strip()}"
    return Check(f"database {alias}", problem)


def _twice(ask: Callable[[str], str], alias: str) -> str:
    """Ask once more on a new connection: the old one may be of a server that has been started again since."""
    connection = connections[alias]
    try:
        return ask(alias)
    except DatabaseError:
        if connection.in_atomic_block:
            raise
        connection.close()
        return ask(alias)


_migrated: set[tuple[str, object]] = set()
"""Databases that were seen with all migrations: nobody takes them back under a running process."""


def _problem_of_database(alias: str) -> str:
    connection = connections[alias]
    name = (alias, connection.settings_dict["NAME"])
    if name in _migrated:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return ""
    loader = MigrationLoader(connection, ignore_no_migrations=True)
    missing = [migration for _, migration in loader.graph.leaf_nodes("django_events") if _is_missing(loader, migration)]
    if missing:
        return f"database {alias!r} lacks the migration django_events.{missing[0]}: run manage.py migrate"
    _migrated.add(name)
    return ""


def _is_missing(loader: MigrationLoader, migration: str) -> bool:
    return ("django_events", migration) not in (loader.applied_migrations or {})


def _trouble_with_kafka() -> str:
    """Why the last try of somebody here to reach Kafka was in vain; nothing if it was not, or nobody has tried."""
    broadcast = in_process.running
    troubles = [relay.trouble, immediate.trouble, broadcast.trouble if broadcast else ""]
    troubles += ["a group waits for its partitions" for each in service.running() if not each.is_assigned]
    return next(filter(None, troubles), "")
