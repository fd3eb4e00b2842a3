"""The outbox and its lanes."""

import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, ClassVar, NamedTuple

import msgspec
from django.db import connections, models, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from django_events.kafka.record import Headers, Record
from django_events.models.statements import begin, execute_binary, fetch, fetch_binary
from django_events.models.windows import reading_along_indexes

LANES_PER_TOPIC = 16
"""Lanes of one topic: how many senders can share it. Changing it would reorder what waits in the outbox."""


IS_SET_ASIDE = models.Q(lane__isnull=True)

COUNTED = 10_001
"""Rows of one topic that are counted at most: counting a million takes long, and says no more."""


class LaneName(NamedTuple):
    """One lane: the rows of one topic whose keys (or, without key, event ids) fall together."""

    topic: str
    number: int


class SavedRow(NamedTuple):
    """A row that has just been written to the outbox."""

    id: int
    lane: LaneName


class NewRow(NamedTuple):
    """What is written of an event. The database adds the rest."""

    topic: str
    lane: int
    event_id: str
    key: bytes | None
    value: bytes | None
    headers: bytes
    """A MessagePack array of [name, bytes or nil]."""


class WaitingRow(NamedTuple):
    """A row of the outbox, read in order to send it: as it comes from the database, because there are many."""

    id: int
    topic: str
    number: int
    """Of its lane."""
    event_id: str
    saved_at: float
    """Seconds since 1970."""
    key: bytes | None
    value: bytes | None
    headers: bytes
    """As the column has them."""
    size: int
    """Bytes of body and headers, as ``Cut`` counts them."""

    @property
    def lane(self) -> LaneName:
        return LaneName(self.topic, self.number)

    @property
    def record_headers(self) -> Headers:
        """The headers of its record, made anew each time. Raises ValueError if the column has something else."""
        try:
            found: Headers = _headers_decoder.decode(self.headers)
        except msgspec.MsgspecError as error:
            raise ValueError(str(error)) from error
        return found


class Backlog(NamedTuple):
    """What one topic has in the outbox of one database."""

    topic: str
    waiting: int
    """Rows that wait to be sent, counted up to ``COUNTED``."""
    oldest: datetime | None
    """When the oldest of them was written; None if there is none."""
    set_aside: int
    """Rows that Kafka refuses, counted likewise."""


class Cut(NamedTuple):
    """How much one round reads at most."""

    rows: int
    """Of one lane."""
    size: int
    """Bytes of one lane; its first row is read whatever its size."""


def lane_of(topic: str, key: bytes | None, event_id: str) -> LaneName:
    """The lane of an event: equal keys of a topic always share one, because order is kept within a lane."""
    return LaneName(topic, zlib.crc32(event_id.encode() if key is None else key) % LANES_PER_TOPIC)


class LaneManager(models.Manager["Lane"]):
    def add_missing(self, lanes: Iterable[LaneName], using: str) -> None:
        """Insert the rows of lanes that have none yet. Idempotent; waits for nobody who holds a lane."""
        rows = [Lane(topic=topic, number=number) for topic, number in lanes]
        self.using(using).bulk_create(rows, ignore_conflicts=True)

    def lock(self, lanes: Collection[LaneName], at_most: int, using: str, *, wait: float) -> list[LaneName]:
        """Begin the transaction of a round, as ``prepare_round``, and lock the first ``at_most`` of the lanes that
        nobody holds, until it ends; return them. Never waits.

        Also the empty ones: if fewer are returned, each other one is held by somebody, or was never added. Where the
        database has no row locks (SQLite) nothing is locked, and the first are returned.
        """
        if connections[using].vendor == "postgresql":
            statements = [_SQL_PREPARE.format(idle=wait + 5), _SQL_LOCK_LANES]
            return [LaneName(*row) for row in begin(using, statements, [*_as_columns(lanes), at_most])]
        return list(lanes)[:at_most]


class Lane(models.Model):
    """A lane's lock. Whoever holds this row's lock sends the lane's rows; it says nothing else."""

    id = models.BigAutoField(primary_key=True)
    topic = models.CharField(max_length=249)
    number = models.SmallIntegerField()

    objects: ClassVar[LaneManager] = LaneManager()

    class Meta:
        default_permissions = ()
        constraints = (models.UniqueConstraint(fields=["topic", "number"], name="django_events_lane_unique"),)

    def __str__(self) -> str:
        return f"{self.topic}/{self.number}"


class OutgoingEventManager(models.Manager["OutgoingEvent"]):
    def save_records(self, records: Sequence[tuple[str, Record]], using: str) -> list[SavedRow]:
        """Insert the records, each with its event id, in their order, in one statement."""
        rows = [_row_of(event_id, record) for event_id, record in records]
        if connections[using].vendor == "postgresql":  # in half the time that bulk_create takes
            ids = fetch(using, _sql_insert(len(rows)), [value for row in rows for value in row])
        else:
            saved = self.using(using).bulk_create([OutgoingEvent(**row._asdict()) for row in rows])
            ids = [(row.pk,) for row in saved]
        return [SavedRow(id, LaneName(row.topic, row.lane)) for (id,), row in zip(ids, rows, strict=True)]

    def topics(self, using: str) -> list[str]:
        """The topics that have rows: one index look-up each, however many rows there are; in a prepared round."""
        return [topic for (topic,) in fetch(using, _SQL_TOPICS, [])]

    def prepare_round(self, using: str, wait: float) -> None:
        """Begin the transaction of a round: READ COMMITTED, plans that do not trust statistics, and an end.

        The proof of order needs a fresh snapshot for each statement. A queue's statistics are always wrong, and
        the plans that they suggest read every waiting row. ``wait`` is in seconds: a process that stops or vanishes
        inside a round loses its transaction, and so the lanes, 5 s after it.
        """
        if connections[using].vendor == "postgresql":
            begin(using, [_SQL_PREPARE.format(idle=wait + 5)])

    def lanes_with_rows(self, using: str) -> list[LaneName]:
        """All lanes that have rows to send, whoever holds them. One index look-up a lane; in a prepared round."""
        if connections[using].vendor == "postgresql":
            return [LaneName(*row) for row in fetch(using, _SQL_LANES_WITH_ROWS, [])]
        lanes = [LaneName(topic, number) for topic in self.topics(using) for number in range(LANES_PER_TOPIC)]
        return [lane for lane in lanes if self.using(using).filter(topic=lane.topic, lane=lane.number).exists()]

    def read(self, lanes: Sequence[LaneName], cut: Cut, using: str) -> list[WaitingRow]:
        """The oldest rows of each lane, without gaps, in the order in which they were written."""
        if connections[using].vendor == "postgresql":
            rows = fetch_binary(using, _SQL_READ, [*_as_columns(lanes), *cut])
            return sorted(map(WaitingRow._make, rows), key=itemgetter(0))
        return sorted((row for lane in lanes for row in self._read_lane(lane, cut, using)), key=itemgetter(0))

    def _read_lane(self, lane: LaneName, cut: Cut, using: str) -> Iterator[WaitingRow]:
        total = 0
        rows = self.using(using).filter(topic=lane.topic, lane=lane.number).order_by("id")[: cut.rows]
        for id, topic, number, event_id, saved_at, key, value, headers in rows.values_list(*_READ_COLUMNS):
            if total >= cut.size:
                return
            size = len(value or b"") + len(headers)
            total += size
            bodies = (_as_bytes(key), _as_bytes(value), bytes(headers))
            yield WaitingRow(id, topic, number or 0, event_id, saved_at.timestamp(), *bodies, size)

    def delete_acknowledged(self, ids: Sequence[int], using: str) -> None:
        """Delete rows that Kafka has acknowledged."""
        if connections[using].vendor == "postgresql":
            execute_binary(using, _SQL_DELETE, [list(ids)])
        else:
            for start in range(0, len(ids), 500):  # far below the parameters that any database takes
                self.using(using).filter(pk__in=ids[start : start + 500]).delete()

    def set_aside(self, errors: Mapping[int, str], using: str) -> None:
        """Take rows out of their lanes, each with the reason: nothing waits for them any more."""
        for id in sorted(errors):
            self.using(using).filter(pk=id).update(lane=None, error=errors[id])

    def send_again(self, ids: Sequence[int], using: str) -> list[int]:
        """Give rows that were set aside their lanes back; returns their ids. Later events of their keys may be in Kafka
        already. Idempotent; waits for nobody."""
        with transaction.atomic(using=using):
            rows = list(self._set_aside(ids, using))
            for row in rows:
                lane = lane_of(row.topic, _as_bytes(row.key), row.event_id).number
                self.using(using).filter(pk=row.pk).update(lane=lane, error=None)
        return [row.pk for row in rows]

    def discard(self, ids: Sequence[int], using: str) -> list[int]:
        """Delete rows that were set aside: their events are never sent. Returns their ids. Waits for nobody."""
        with transaction.atomic(using=using):
            found = [row.pk for row in self._set_aside(ids, using)]
            self.using(using).filter(pk__in=found).delete()
        return found

    def backlogs(self, using: str, topics: int | None = None) -> list[Backlog]:
        """What each topic, or the first ``topics`` of them, has in the outbox. Bounded rows of each are read."""
        if connections[using].vendor == "postgresql":
            with reading_along_indexes(using):
                return [Backlog(*row) for row in fetch(using, _SQL_BACKLOGS, [COUNTED, COUNTED, topics])]
        return [self._backlog(topic, using) for topic in self.topics(using)[:topics]]

    def _backlog(self, topic: str, using: str) -> Backlog:
        rows = self.using(using).filter(topic=topic)
        lanes = [rows.filter(lane=number) for number in range(LANES_PER_TOPIC)]
        # By all columns of the index: by "id" alone, the primary key has that order, too, and is read in vain.
        heads = [lane.order_by("topic", "lane", "id").values_list("saved_at", flat=True).first() for lane in lanes]
        waiting = 0
        for lane in lanes:  # one by one: counted together, they would all be read
            waiting += lane[: COUNTED - waiting].count() if waiting < COUNTED else 0
        return Backlog(topic, waiting, min(filter(None, heads), default=None), rows.filter(lane=None)[:COUNTED].count())

    def _set_aside(self, ids: Sequence[int], using: str) -> "models.QuerySet[OutgoingEvent]":
        """Those of the rows that are set aside and that nobody else changes, locked."""
        rows = self.using(using).filter(IS_SET_ASIDE, pk__in=ids).only("pk", "topic", "key", "event_id").order_by("pk")
        return rows.select_for_update(skip_locked=True)


class OutgoingEvent(models.Model):
    """An event that waits to be sent. Inserted with the change that it tells of, deleted when Kafka has it."""

    id = models.BigAutoField(primary_key=True)
    topic = models.CharField(max_length=249)
    lane = models.SmallIntegerField(null=True)
    """None: set aside, because Kafka refuses this row."""
    event_id = models.TextField()
    key = models.BinaryField(null=True)
    value = models.BinaryField(null=True)
    headers = models.BinaryField()
    """The record's headers as a MessagePack array of [name, bytes or nil]."""
    saved_at = models.DateTimeField(db_default=Now())
    error = models.TextField(null=True)
    """Why the row was set aside."""

    objects: ClassVar[OutgoingEventManager] = OutgoingEventManager()

    class Meta:
        verbose_name = _("outgoing event")
        verbose_name_plural = _("outgoing events")
        default_permissions = ("view",)
        permissions = (
            ("send_again_outgoingevent", "Can send outgoing events that are set aside again"),
            ("discard_outgoingevent", "Can discard outgoing events that are set aside"),
        )
        indexes = (
            models.Index(fields=["topic", "lane", "id"], name="django_events_outgoing_lane"),
            models.Index(fields=["id"], condition=IS_SET_ASIDE, name="django_events_set_aside"),
        )

    def __str__(self) -> str:
        return f"{self.topic} {self.event_id}"


# ── SQL ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_OUTBOX = OutgoingEvent._meta.db_table
_LANES = Lane._meta.db_table
_VALUES = f"({', '.join(['%s'] * len(NewRow._fields))})"
_READ_COLUMNS = ("id", "topic", "lane", "event_id", "saved_at", "key", "value", "headers")

_SQL_PREPARE = (
    "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true), "
    "set_config('enable_bitmapscan', 'off', true), "
    "set_config('jit', 'off', true), "  # a plan that looks expensive would be compiled: 100 ms for a read of 1 ms
    "set_config('idle_in_transaction_session_timeout', '{idle:.0f}s', true)"
)
_SQL_WANTED = "unnest(%s::varchar[], %s::smallint[]) WITH ORDINALITY AS wanted (topic, number, place)"
# In the order that is asked for: else those of some topics would have their turn again and again, and others never.
_SQL_LOCK_LANES = (
    f"SELECT lane.topic, lane.number FROM {_SQL_WANTED} JOIN {_LANES} lane USING (topic, number) "
    "ORDER BY wanted.place LIMIT %s FOR UPDATE OF lane SKIP LOCKED"
)
# A row is read while the bytes before it are below the cut, so the first row always is.
_SQL_READ = f"""
    SELECT r.id, r.topic, r.lane, r.event_id, extract(epoch FROM r.saved_at)::float8, r.key, r.value, r.headers, r.size
    FROM {_SQL_WANTED} CROSS JOIN LATERAL (
        SELECT o.*, sum(o.size) OVER (ORDER BY o.id ROWS UNBOUNDED PRECEDING) - o.size AS size_before
        FROM (
            SELECT {", ".join(_READ_COLUMNS)}, coalesce(length(value), 0) + length(headers) AS size
            FROM {_OUTBOX} WHERE topic = wanted.topic AND lane = wanted.number ORDER BY id LIMIT %s
        ) o
    ) r WHERE r.size_before < %s
"""
_SQL_DELETE = f"DELETE FROM {_OUTBOX} WHERE id = ANY(%s)"
# Not MIN(topic): over a table that looks empty, it reads every row.
_SQL_STEPS = (
    f"WITH RECURSIVE step (topic) AS (SELECT * FROM (SELECT topic FROM {_OUTBOX} ORDER BY topic LIMIT 1) f UNION ALL "
    f"SELECT (SELECT o.topic FROM {_OUTBOX} o WHERE o.topic > step.topic ORDER BY o.topic LIMIT 1) FROM step "
    "WHERE step.topic IS NOT NULL)"
)
_SQL_TOPICS = f"{_SQL_STEPS} SELECT topic FROM step WHERE topic IS NOT NULL"
# LIMIT keeps the planner from turning the look-up into a join, which would read every waiting row.
_SQL_LANES_WITH_ROWS = (
    f"{_SQL_STEPS} SELECT step.topic, n.number FROM step "
    f"CROSS JOIN generate_series(0, {LANES_PER_TOPIC - 1}) AS n (number) "
    f"CROSS JOIN LATERAL (SELECT 1 FROM {_OUTBOX} o WHERE o.topic = step.topic AND o.lane = n.number LIMIT 1) first_row"
)

# Lane by lane, or the look for the oldest would read every row that waits. What is counted is bounded before that.
_SQL_BACKLOGS = f"""
    {_SQL_STEPS}
    SELECT step.topic, waiting.number, head.saved_at, set_aside.number
    FROM step
    CROSS JOIN LATERAL (
        SELECT count(*) FROM (
            SELECT 1 FROM {_OUTBOX} o WHERE o.topic = step.topic AND o.lane >= 0 LIMIT %s
        ) AS counted
    ) AS waiting (number)
    CROSS JOIN LATERAL (
        SELECT min(oldest.saved_at) FROM generate_series(0, {LANES_PER_TOPIC - 1}) AS lane (number)
        CROSS JOIN LATERAL (
            SELECT o.saved_at FROM {_OUTBOX} o WHERE o.topic = step.topic AND o.lane = lane.number ORDER BY o.id LIMIT 1
        ) AS oldest
    ) AS head (saved_at)
    CROSS JOIN LATERAL (
        SELECT count(*) FROM (
            SELECT 1 FROM {_OUTBOX} o WHERE o.topic = step.topic AND o.lane IS NULL LIMIT %s
        ) AS counted
    ) AS set_aside (number)
    WHERE step.topic IS NOT NULL LIMIT %s
"""


def _sql_insert(count: int) -> str:
    values = ", ".join([_VALUES] * count)
    return f"INSERT INTO {_OUTBOX} ({', '.join(NewRow._fields)}) VALUES {values} RETURNING id"


def _as_columns(lanes: Iterable[LaneName]) -> list[list[Any]]:
    return [list(column) for column in zip(*lanes, strict=True)]


def _row_of(event_id: str, record: Record) -> NewRow:
    return NewRow(
        topic=record.topic,
        lane=lane_of(record.topic, record.key, event_id).number,
        event_id=event_id,
        key=record.key,
        value=record.value,
        headers=_headers_encoder.encode(record.headers),
    )


def _as_bytes(value: bytes | memoryview | None) -> bytes | None:
    return None if value is None else bytes(value)


_headers_encoder = msgspec.msgpack.Encoder()
_headers_decoder = msgspec.msgpack.Decoder(Headers)
