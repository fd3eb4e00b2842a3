"""Old marks of exactly-once handling are forgotten, a few at a time."""

import uuid
from collections.abc import Collection, Iterator
from datetime import datetime

from django.db import connections, transaction
from django.db.models import QuerySet

from django_events.models.dead_letters import IS_OPEN, DeadLetter
from django_events.models.processed import ProcessedEvent


def prune(before: datetime, limit: int, using: str, letters: str) -> Iterator[int]:
    """Forget the marks that were made before this moment, the oldest first; ``limit`` of them in one transaction.
    Yields after each how many there were.

    ``letters`` is the database of the dead letters. The mark of an event with an open one stays: an event that was
    handled after all, while its letter waits for an operator, would be handled a second time by the letter's retry.

    Waits for nobody and holds up nobody: what another transaction has locked is passed over, so that several processes
    share the work.
    """
    kept: set[uuid.UUID] = set()
    while True:
        with transaction.atomic(using=using):
            _prepare(using)
            found = set(oldest(before, limit, using, kept))
            needed = _with_open_letter(found, letters)
            count, _ = ProcessedEvent.objects.using(using).filter(pk__in=found - needed).delete()
        if not found:
            return
        kept |= needed
        yield count


def count_old(before: datetime, using: str) -> int:
    """How many marks were made before this moment."""
    return ProcessedEvent.objects.using(using).filter(processed_at__lt=before).count()


def oldest(
    before: datetime, limit: int, using: str, without: Collection[uuid.UUID] = ()
) -> "QuerySet[ProcessedEvent, uuid.UUID]":
    """The keys of the oldest marks that were made before this moment, locked."""
    rows = ProcessedEvent.objects.using(using).filter(processed_at__lt=before).exclude(pk__in=without)
    return rows.order_by("processed_at").select_for_update(skip_locked=True).values_list("pk", flat=True)[:limit]


def _with_open_letter(keys: Collection[uuid.UUID], letters: str) -> set[uuid.UUID]:
    rows = DeadLetter.objects.using(letters).filter(IS_OPEN, event_key__in=keys)
    return set(rows.values_list("event_key", flat=True))


def _prepare(using: str) -> None:
    """Have the marks read by their indexes, whatever the statistics say."""
    if connections[using].vendor == "postgresql":
        with connections[using].cursor() as cursor:
            cursor.execute(_SQL_PREPARE)


_SQL_PREPARE = (
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off; "
    "SET LOCAL jit = off"
)
