"""Old marks of exactly-once handling are forgotten, a few at a time."""

import uuid
from datetime import datetime

from django.db import connections, transaction
from django.db.models import Exists, OuterRef, QuerySet

from django_events.models.dead_letters import IS_OPEN, DeadLetter
from django_events.models.processed import ProcessedEvent


def prune(before: datetime, limit: int, using: str) -> int:
    """Forget the oldest marks that were made before this moment, at most so many; how many there were.

    Waits for nobody and holds up nobody: what another transaction has locked is passed over, so that several processes
    share the work. The mark of an event with an open dead letter stays: an event that was handled after all, while its
    letter waits for an operator, would be handled a second time by the letter's retry.
    """
    with transaction.atomic(using=using):
        _prepare(using)
        keys = list(oldest(before, limit, using))
        return ProcessedEvent.objects.using(using).filter(pk__in=keys).delete()[0]


def count_prunable(before: datetime, using: str) -> int:
    """How many marks ``prune`` would forget in all."""
    return _prunable(before, using).count()


def oldest(before: datetime, limit: int, using: str) -> "QuerySet[ProcessedEvent, uuid.UUID]":
    """The keys of the marks that ``prune`` forgets, locked."""
    rows = _prunable(before, using).order_by("processed_at").select_for_update(skip_locked=True)
    return rows.values_list("pk", flat=True)[:limit]


def _prunable(before: datetime, using: str) -> QuerySet[ProcessedEvent]:
    open_letter = DeadLetter.objects.filter(IS_OPEN, event_key=OuterRef("key"))
    return ProcessedEvent.objects.using(using).filter(~Exists(open_letter), processed_at__lt=before)


def _prepare(using: str) -> None:
    """Have both tables read by their indexes, whatever the statistics say."""
    if connections[using].vendor == "postgresql":
        with connections[using].cursor() as cursor:
            cursor.execute(_SQL_PREPARE)


_SQL_PREPARE = (
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off; "
    "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL jit = off"
)
