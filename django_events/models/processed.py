"""The marks of exactly-once handling."""

import uuid
from collections.abc import Collection, Sequence
from typing import ClassVar, NamedTuple

import msgspec
from django.db import connections, models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from django_events.models.indexes import HashIndex
from django_events.models.statements import execute_binary, fetch, fetch_binary

PATIENCE = 5.0
"""Seconds for which another transaction is waited for that has just inserted one of the marks."""


class Mark(NamedTuple):
    """What a ProcessedEvent is made of, on its way into the table."""

    key: bytes
    """The bytes of the UUID: a thousand of them are compared, sorted and sent in a moment."""
    topic: str
    source: str
    event_id: str
    group_name: str
    handler: str


class ProcessedEventManager(models.Manager["ProcessedEvent"]):
    def mark_processed(
        self, marks: Collection[Mark], using: str, *, again: bool = False, patience: float = PATIENCE
    ) -> set[bytes]:
        """Insert the marks in the caller's transaction; return the keys of those that were not there before.

        With ``again`` those that were there are made anew, and their keys are returned, too.
        Waits at most ``patience`` seconds for another transaction that has just inserted one of them, then raises
        OperationalError (with PostgreSQL; SQLite knows one time-out for all).
        Sorted, so that two transactions never wait for each other. Equal keys count once.
        """
        unique = {mark.key: mark for mark in marks}
        chosen = [unique[key] for key in sorted(unique)]
        conflict = _AGAIN if again else _NOTHING
        if connections[using].vendor == "postgresql":
            sql = _SQL_BOUNDED.format(conflict=conflict, bound=f"{max(int(patience * 1000), 1)}ms")
            keys, *texts = zip(*chosen, strict=True)
            rows = fetch_binary(using, sql, [_as_json([key.hex() for key in keys]), *map(_as_json, texts)])
        else:
            sql = _SQL_UNBOUNDED.format(values=", ".join([_MARK] * len(chosen)), conflict=conflict)
            found = fetch(using, sql, [value for mark in chosen for value in _mark_values(mark, using)])
            rows = [(_as_uuid(key).bytes,) for (key,) in found]
        return {key for (key,) in rows if key is not None}

    def unmark(self, keys: Collection[bytes], using: str) -> None:
        """Delete marks that the caller's transaction has inserted."""
        if connections[using].vendor == "postgresql":  # Django would look first for what hangs on them
            execute_binary(using, _SQL_UNMARK, [_as_json([key.hex() for key in keys])])
        else:
            self.using(using).filter(pk__in=[uuid.UUID(bytes=key) for key in keys]).delete()

    def processed(self, keys: Collection[uuid.UUID], using: str) -> set[uuid.UUID]:
        """Those of the keys whose mark is committed."""
        return set(self.using(using).filter(pk__in=keys).values_list("pk", flat=True))


class ProcessedEvent(models.Model):
    """The mark that an exactly-once handler's effects of one event are committed: it commits with them."""

    key = models.UUIDField(primary_key=True)
    """A 128-bit digest of topic, source, event id, group and handler."""
    topic = models.CharField(max_length=249)
    source = models.TextField()
    event_id = models.TextField()
    group_name = models.CharField(max_length=55)
    handler = models.CharField(max_length=200)
    processed_at = models.DateTimeField(db_default=Now(), db_index=True)

    objects: ClassVar[ProcessedEventManager] = ProcessedEventManager()

    class Meta:
        verbose_name = _("processed event")
        verbose_name_plural = _("processed events")
        default_permissions = ("view",)
        # For people who look for an event: by hash, because strangers' ids may be longer than a tree takes.
        indexes = (HashIndex(fields=["event_id"], name="django_events_processed_id"),)

    def __str__(self) -> str:
        return f"{self.topic} {self.event_id} by {self.group_name}/{self.handler}"


_PROCESSED = ProcessedEvent._meta.db_table

_COLUMNS = '"key", topic, source, event_id, group_name, handler, processed_at'
_NOTHING = "DO NOTHING"
_AGAIN = '("key") DO UPDATE SET processed_at = excluded.processed_at'

# A column of all marks is one JSON text: psycopg would look at each text of an array for what must be escaped, which
# takes almost as long as the INSERT itself.
#
# The wait for locks is bounded, and what was set before is set again, in the statement itself: as statements of their
# own the two would cost as much as all else of a transaction. The INSERT reads from "bound", so it comes after the
# bound; what is set at the end needs the count, so it comes after the INSERT. Local, for the sake of PgBouncer.
_SQL_BOUNDED = f"""
WITH bound AS MATERIALIZED (
    SELECT current_setting('lock_timeout') AS before, set_config('lock_timeout', '{{bound}}', true) AS now
), marked AS (
    INSERT INTO {_PROCESSED} ({_COLUMNS})
    SELECT "key"::uuid, topic, source, event_id, group_name, handler, CURRENT_TIMESTAMP
    FROM bound CROSS JOIN ROWS FROM ({", ".join(["json_array_elements_text(%s::json)"] * 6)})
        AS given ("key", topic, source, event_id, group_name, handler)
    ON CONFLICT {{conflict}} RETURNING "key"
)
SELECT uuid_send("key") FROM marked
UNION ALL
SELECT NULL FROM bound CROSS JOIN (SELECT count(*) AS number FROM marked) AS done
WHERE set_config('lock_timeout', bound.before, done.number * 0 = 0) IS NOT NULL
"""
_SQL_UNBOUNDED = f'INSERT INTO {_PROCESSED} ({_COLUMNS}) VALUES {{values}} ON CONFLICT {{conflict}} RETURNING "key"'
_SQL_UNMARK = (
    f'DELETE FROM {_PROCESSED} WHERE "key" = ANY (ARRAY('
    "SELECT given::uuid FROM json_array_elements_text(%s::json) AS given))"
)
_MARK = "(%s, %s, %s, %s, %s, %s, CURRENT_TIMESTAMP)"


def _as_json(texts: Sequence[str]) -> str:
    return msgspec.json.encode(texts).decode()


def _mark_values(mark: Mark, using: str) -> tuple[object, ...]:
    key = uuid.UUID(bytes=mark.key)
    return (key if connections[using].features.has_native_uuid_field else key.hex, *mark[1:])


def _as_uuid(key: uuid.UUID | str) -> uuid.UUID:
    return key if isinstance(key, uuid.UUID) else uuid.UUID(key)
