"""What the tables say, read when Prometheus asks, and where it asks.

Nobody waits for a database that hangs: it is read in a thread, and what does not come in time is missing on the page.
"""

import logging
import platform
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import groupby

import django
from django.db import connections, router
from django.utils import timezone

from django_events import __version__, metrics, tables
from django_events.conf import settings
from django_events.metrics import Reading
from django_events.models import DeadLetter, OutgoingEvent
from django_events.models.statements import bound_statements
from django_events.producing.sender import round_transaction
from django_events.retry import Backoff
from django_events.trouble import Trouble

logger = logging.getLogger("django_events.metrics")

PATIENCE = 2.0
"""Seconds that the databases have for an answer; below the ten that Prometheus waits for a page."""

MOST_TOPICS = metrics.MOST
"""Topics of one outbox that are looked at."""


def serve(port: int, address: str) -> None:
    """Answer on this port with the metrics of this process, in daemon threads. Where that cannot be, the log says so,
    and nothing else happens."""
    if not metrics.is_there:
        logger.error(
            "This process shows no metrics: prometheus_client is not installed. Its events go on. Run: "
            "pip install 'django-events-kafka[prometheus]'"
        )
        return
    try:
        metrics.serve(port, address)
    except (OSError, OverflowError, UnicodeError) as error:  # the last of an address that is no name
        logger.error(
            "This process shows no metrics: it cannot have port %d of %s (%s). Its events go on. Choose another port "
            "with --metrics-port, or another address of this machine with --metrics-address, and start it again",
            port,
            address,
            error,
        )
    else:
        logger.info("Metrics are at http://%s:%d/metrics", f"[{address}]" if ":" in address else address, port)


def page() -> tuple[bytes, str] | None:
    """What ``metrics.page`` says; None without prometheus_client."""
    return metrics.page() if metrics.is_there else None


class _Look(threading.Thread):
    """Reads the tables of one database, once."""

    def __init__(self, using: str) -> None:
        super().__init__(name=f"django-events-metrics-{using}", daemon=True)
        self.found: list[Reading] | None = None
        self.problem = f"no answer within {PATIENCE:g} s"
        """Why nothing is found."""
        self._using = using

    def run(self) -> None:
        try:
            self.found = [*_facts(self._using)]
        except Exception as error:
            self.problem = str(error).strip()
        finally:
            connections.close_all()


class _Tables:
    """Those of one database. Several threads may ask; one look at a time is enough for all, also if it hangs."""

    def __init__(self, using: str) -> None:
        self._using = using
        self._look: _Look | None = None
        self._trouble = Trouble("metrics", f"Reading the tables of {using} for metrics", logger, Backoff())

    def look(self) -> _Look:
        """A look that has begun."""
        look = self._look
        if look is None or not look.is_alive():
            look = self._look = _Look(self._using)
            look.start()
        return look

    def wait_for(self, look: _Look, seconds: float) -> Iterator[Reading]:
        """What it finds within so many seconds."""
        look.join(seconds)
        if (found := look.found) is None:
            self._trouble.began(look.problem)
        else:
            self._trouble.ended()
        yield Reading(metrics.TABLES_READ, (self._using,), float(found is not None))
        yield from found or ()


_tables: dict[str, _Tables] = {}


def _read() -> Iterator[Reading]:
    yield Reading(metrics.BUILD, (__version__, platform.python_version(), django.get_version()), 1)
    if tables.there_are_none():
        return
    databases = sorted({*settings.DATABASES, router.db_for_write(DeadLetter)})
    asked = [_tables.setdefault(using, _Tables(using)) for using in databases]
    looks = [each.look() for each in asked]
    deadline = time.monotonic() + PATIENCE
    for each, look in zip(asked, looks, strict=True):
        yield from each.wait_for(look, max(deadline - time.monotonic(), 0.0))


def _facts(using: str) -> Iterator[Reading]:
    with round_transaction(using):
        bound_statements(using, PATIENCE)
        if using in settings.DATABASES:
            yield from _outbox(using)
        if using == router.db_for_write(DeadLetter):
            yield from _letters(using)


def _outbox(using: str) -> Iterator[Reading]:
    for backlog in OutgoingEvent.objects.backlogs(using, MOST_TOPICS):
        labels = using, backlog.topic
        yield Reading(metrics.OUTBOX_WAITING, labels, backlog.waiting)
        yield Reading(metrics.OUTBOX_SET_ASIDE, labels, backlog.set_aside)
        yield Reading(metrics.OUTBOX_OLDEST, labels, _age(backlog.oldest) if backlog.oldest else 0.0)


def _letters(using: str) -> Iterator[Reading]:
    found = sorted(DeadLetter.objects.open_by_handler(using))
    for (group, handler), states in groupby(found, key=lambda letters: (letters.group_name, letters.handler)):
        oldest = timezone.now()
        for letters in states:
            oldest = min(oldest, letters.first_failed)
            yield Reading(metrics.DEAD_LETTERS, (group, handler, letters.state), letters.number)
        yield Reading(metrics.DEAD_LETTERS_OLDEST, (group, handler), _age(oldest))


def _age(moment: datetime) -> float:
    return max((timezone.now() - moment).total_seconds(), 0.0)


metrics.register([metric for metric in metrics.ALL if metric.kind == "reading"], _read)
