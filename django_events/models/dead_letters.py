"""Dead letters: events that a handler has failed with, what was tried, and which failures they have in common.

A letter's rows are the working list; Kafka's dead-letter topic is where they come from. ``due_at`` is the moment from
which anybody may take the letter: in a waiting letter the time of its next try, in a running one the end of its lease.
Of the letters that are tried by themselves, only the oldest open one of a handler and key has it set.
"""

import random
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar, NamedTuple

import msgspec
from django.db import models, transaction
from django.db.models import Count, Min, Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_events.kafka.record import Headers
from django_events.models.failures import Change, Failure, FailureKind
from django_events.models.windows import reading_along_indexes, window

CHUNK = 500
"""Letters that one transaction of an operator's action locks: others wait only as long as that takes."""

LOOKED_AT = 100
"""Due letters that one look for some to run considers."""

PUT_OFF = timedelta(minutes=30)
"""How long a due letter waits that the process which looks cannot run: another, with newer code, perhaps can."""

FIRST = timedelta(days=1)
"""By how much a letter that an operator wants tried stands in front of those that are due by themselves."""

COUNTED = 10_001
"""Open letters that are counted at most."""

SHOWN = 200
"""Characters of a key or event id that are kept for people and for searching."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What a dead-letter topic tells of one event at one handler. Immutable."""

    letter_key: uuid.UUID
    """A digest of the letter's id and the handler: who has it has this letter."""
    event_key: uuid.UUID
    """A digest of the event's identity, group and handler; the same as its mark of exactly-once handling."""
    queue_key: uuid.UUID | None
    """A digest of group, handler, topic and key; None without key."""
    topic: str
    group_name: str
    handler: str
    partition: int
    """Where the event itself is in Kafka."""
    offset: int
    letter_partition: int
    """Where its letter is in the dead-letter topic."""
    letter_offset: int
    event_id: str
    key: bytes | None
    key_text: str | None
    value: bytes | None
    headers: Headers
    """Of the event; those that describe the failure are left out."""
    attempts: int
    first_failed: datetime
    last_failed: datetime
    exception: str
    message: str
    traceback: str
    fingerprint: uuid.UUID
    automatic: bool
    """Whether it is tried again by itself."""
    first_delay: float
    """Seconds until it is."""

    @property
    def kind(self) -> FailureKind:
        return FailureKind(
            self.fingerprint, self.group_name, self.handler, self.topic, self.exception, self.message, self.last_failed
        )


class State(models.TextChoices):
    """What becomes of a dead letter."""

    WAITING = "waiting", _("waiting")
    RUNNING = "running", _("running")
    RESOLVED = "resolved", _("resolved")
    DISCARDED = "discarded", _("discarded")


ALREADY = "its effects had been committed already"

OPEN = (State.WAITING, State.RUNNING)
IS_OPEN = Q(state__in=OPEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What one try of a leased letter came to. Immutable."""

    resolved: bool
    """The handler is done with it, or passed it over."""
    counts: bool
    """Whether it was a try at all; not if, for instance, the database was away."""
    began: datetime
    ended: datetime
    host: str
    reason: str = ""
    """Why it is resolved, if not because the handler succeeded."""
    exception: str = ""
    message: str = ""
    traceback: str = ""
    fingerprint: uuid.UUID = uuid.UUID(int=0)
    """The failure's, if it failed."""
    automatic: bool = False
    """Whether it is tried again by itself."""
    delay: float = 0.0
    """Seconds until it is."""

    def kind_for(self, row: "DeadLetter") -> FailureKind:
        """The failure of this try of the letter."""
        return FailureKind(
            self.fingerprint, row.group_name, row.handler, row.topic, self.exception, self.message, self.ended
        )


class Answer(NamedTuple):
    """What became of the letters that an operator's action was asked for."""

    done: int = 0
    closed: int = 0
    """Left alone, because they are resolved or discarded already."""
    running: int = 0
    """Left alone, because their handler runs, or somebody else changes them, right now."""
    undeclared: tuple[str, ...] = ()
    """Left alone: handlers (group/name) that this site does not declare."""
    changed: tuple[int, ...] = ()
    """The primary keys of those that it was done to."""

    def __add__(self, other: "Answer") -> "Answer":  # type: ignore[override]
        names = tuple(sorted({*self.undeclared, *other.undeclared}))
        changed = (*self.changed, *other.changed)
        return Answer(self.done + other.done, self.closed + other.closed, self.running + other.running, names, changed)


class OpenLetters(NamedTuple):
    """Those of one handler that are in the same state."""

    group_name: str
    handler: str
    state: str
    """``waiting`` to be tried again by itself, ``kept`` for an operator, or ``running``."""
    number: int
    first_failed: datetime
    """Of the oldest."""


class DeadLetterManager(models.Manager["DeadLetter"]):
    # ── for everybody ────────────────────────────────────────────────────────────────────────────────────────────

    def open_by_handler(self, using: str) -> list["OpenLetters"]:
        """How many open letters each handler has in each state, of the ``COUNTED`` that failed longest ago."""
        open_letters = self.using(using).filter(IS_OPEN)
        oldest = window(open_letters, ["last_failed"], backwards=False, size=COUNTED)
        grouped = oldest.order_by().values_list("group_name", "handler", "state", "automatic")
        with reading_along_indexes(using):
            found = list(grouped.annotate(Count("pk"), Min("first_failed")))
        return [
            OpenLetters(group, handler, _state_for_people(state, automatic=automatic), *facts)
            for group, handler, state, automatic, *facts in found
        ]

    # ── the reader ───────────────────────────────────────────────────────────────────────────────────────────────

    def project(self, letters: Sequence[Letter], using: str, *, processed: Collection[uuid.UUID] = ()) -> int:
        """Bring letters from Kafka into the table, in one transaction; returns how many were new. Idempotent.

        A letter that was ever here is passed over. A second letter of the same event and handler is merged into the
        open one, or into one that was closed after the failure that it tells of. New letters of ``processed`` events,
        by their keys, are closed.
        """
        with transaction.atomic(using=using):
            fresh = {letter.letter_key: letter for letter in self.unknown(letters, using)}
            failures = Failure.objects.of([letter.kind for letter in fresh.values()], using)
            event_keys = {letter.event_key for letter in fresh.values()}
            rows = self._newest_of(event_keys, using)
            created: list[DeadLetter] = []
            attempts: list[DeadLetterAttempt] = []
            changes: list[Change] = []
            for letter in fresh.values():
                row, failure = rows.get(letter.event_key), failures[letter.fingerprint]
                if row is None or not row.tells_of(letter):
                    row = rows[letter.event_key] = _row_of(letter, failure, is_processed=letter.event_key in processed)
                    created.append(row)
                    changes.append(Change(failure.pk, 1, int(row.is_open)))
                else:
                    before = row.failure_id
                    row.merge(letter, failure)
                    changes += _moved(before, row.failure_id, is_open=row.is_open)
                changes.append(Change(failure.pk, newest=letter.kind))
                attempts.append(_attempt_of(letter, row))
            self._set_due(created, fresh.values(), using)
            self.using(using).bulk_update([row for row in rows.values() if row.pk], MERGED_FIELDS)
            self.using(using).bulk_create(created)
            DeadLetterAttempt.objects.using(using).bulk_create(attempts)
            Failure.objects.note(changes, using)
        return len(fresh)

    def unknown(self, letters: Sequence[Letter], using: str) -> list[Letter]:
        """Those of the letters that were never here."""
        found = DeadLetterAttempt.objects.using(using).filter(letter_key__in={letter.letter_key for letter in letters})
        known = set(found.values_list("letter_key", flat=True))
        return [letter for letter in letters if letter.letter_key not in known]

    def _newest_of(self, event_keys: Collection[uuid.UUID], using: str) -> dict[uuid.UUID, "DeadLetter"]:
        """The newest letter of each event, locked in the order of ids, as everybody does that locks several."""
        rows = self.using(using).filter(event_key__in=event_keys).defer("value", "headers", "edited_value")
        return {row.event_key: row for row in rows.order_by("pk").select_for_update()}

    def _set_due(self, rows: Sequence["DeadLetter"], letters: Iterable[Letter], using: str) -> None:
        """Only the oldest of a queue is due. Its row stays locked, so that who closes it sees the new ones behind."""
        delays = {letter.event_key: letter.first_delay for letter in letters}
        taken: set[uuid.UUID] = set()
        for row in sorted(rows, key=lambda row: str(row.queue_key)):
            if not (row.automatic and row.is_open):
                continue
            if row.queue_key is None or not (row.queue_key in taken or self._head(row.queue_key, using)):
                row.due_at = Now() + timedelta(seconds=delays[row.event_key])
            if row.queue_key:
                taken.add(row.queue_key)

    def _head(self, queue_key: uuid.UUID, using: str) -> "DeadLetter | None":
        """The oldest open letter of a queue that is tried by itself, locked."""
        rows = self.using(using).filter(IS_OPEN, queue_key=queue_key, automatic=True).only("pk", "due_at", "retries")
        return rows.order_by("pk").select_for_update().first()

    # ── the retrier ──────────────────────────────────────────────────────────────────────────────────────────────

    def lease(
        self, group: str, topics: Mapping[str, Collection[str]], count: int, seconds: float, using: str
    ) -> list["DeadLetter"]:
        """Take up to ``count`` due letters of the group for so many seconds; also those whose lease has ended.

        ``topics`` has those of each handler that can be run here. Letters that nobody here can run are put off, so that
        none of them stands in front of others. What is taken is running from now on; renew the lease while the handler
        runs. Waits for nobody.
        """
        due = self.using(using).filter(group_name=group, due_at__lte=Now()).order_by("due_at")
        able = self._able(due, topics)
        if not able:
            return []
        chosen = random.sample(able, min(count, len(able)))  # several processes look at the same time
        with transaction.atomic(using=using):
            rows = list(due.filter(pk__in=chosen).select_for_update(skip_locked=True))
            for row in rows:
                row.lease = uuid.uuid4()
                self.using(using).filter(pk=row.pk).update(
                    state=State.RUNNING, lease=row.lease, due_at=Now() + timedelta(seconds=seconds)
                )
        return rows

    def _able(self, due: "models.QuerySet[DeadLetter]", topics: Mapping[str, Collection[str]]) -> list[int]:
        """Some due letters that can be run here; those that stand in front of them and cannot are put off."""
        while True:
            looked_at = list(due.values_list("pk", "handler", "topic")[:LOOKED_AT])
            able = [pk for pk, handler, topic in looked_at if topic in topics.get(handler, ())]
            unable = [pk for pk, handler, topic in looked_at if topic not in topics.get(handler, ())]
            if unable:  # also those that a killed process was running: an operator may act on what waits only
                put_off = due.order_by().filter(pk__in=unable)
                put_off.update(state=State.WAITING, lease=None, due_at=Now() + PUT_OFF)
            if able or len(looked_at) < LOOKED_AT:
                return able

    def renew(self, leases: Collection[uuid.UUID], seconds: float, using: str) -> None:
        """Keep what is leased for so many seconds from now."""
        leased = self.using(using).filter(lease__in=leases, state=State.RUNNING)
        leased.update(due_at=Now() + timedelta(seconds=seconds))

    def conclude(self, letter: "DeadLetter", tried: Tried, using: str) -> bool:
        """Write down what a leased letter's try came to, and when the next is. False if the lease was lost meanwhile:
        then somebody else has the letter, and what was tried is only noted."""
        with transaction.atomic(using=using):
            kinds = [tried.kind_for(letter)] if tried.counts and not tried.resolved else []
            failure = Failure.objects.of(kinds, using).get(tried.fingerprint)
            mine = self.using(using).filter(pk=letter.pk, lease=letter.lease, state=State.RUNNING)
            row = mine.defer("value", "headers", "edited_value").select_for_update().first()
            if tried.counts:
                DeadLetterAttempt.objects.using(using).create(**_attempt_fields(letter, tried))
            if row is None:
                return False
            if tried.resolved:
                self._close([row], State.RESOLVED, tried.reason, tried.host, using)
            else:
                self._put_back(row, tried, failure, using)
        return True

    def _put_back(self, row: "DeadLetter", tried: Tried, failure: Failure | None, using: str) -> None:
        """The letter waits again; if it was no try at all (without ``failure``), then as if nobody had taken it."""
        changes: dict[str, Any] = {"state": State.WAITING, "lease": None}
        if failure is None:
            changes |= {"due_at": Now() + timedelta(seconds=tried.delay)}
        else:
            changes |= self._failed(row, tried, using) | {"failure": failure}
        self.using(using).filter(pk=row.pk).update(**changes)
        if failure is not None:
            if row.automatic and not tried.automatic:
                self._promote([row], using)
            seen = Change(failure.pk, newest=tried.kind_for(row))
            Failure.objects.note([seen, *_moved(row.failure_id, failure.pk)], using)

    def _failed(self, row: "DeadLetter", tried: Tried, using: str) -> dict[str, Any]:
        """What a failure changes in the letter."""
        automatic = row.automatic and tried.automatic
        is_next = automatic and self._is_oldest(row, using)
        return {
            "due_at": Now() + timedelta(seconds=tried.delay) if is_next else None,
            "automatic": automatic,
            "attempts": row.attempts + 1,
            "retries": row.retries + 1,
            "last_failed": tried.ended,
            "exception": tried.exception,
            "message": tried.message,
        }

    def _is_oldest(self, row: "DeadLetter", using: str) -> bool:
        older = self.using(using).filter(IS_OPEN, queue_key=row.queue_key, automatic=True, pk__lt=row.pk)
        return row.queue_key is None or not older.exists()

    # ── operators ────────────────────────────────────────────────────────────────────────────────────────────────

    def retry_now(self, ids: Sequence[int], declared: Collection[tuple[str, str]], using: str) -> Answer:
        """Make waiting letters due at once, also those that wait behind an older one of their key. Waits for nobody.

        ``declared`` are the (group, handler) pairs that this site has: for others there is nothing to run.
        """
        answer = Answer()
        for chunk in _chunks(ids):
            with transaction.atomic(using=using):
                rows, answered = self._lock(chunk, using)
                here = [row for row in rows if (row.group_name, row.handler) in declared]
                missing = {f"{row.group_name}/{row.handler}" for row in rows} - {
                    f"{row.group_name}/{row.handler}" for row in here
                }
                self.using(using).filter(pk__in=[row.pk for row in here]).update(**_due_first())
            answer += answered + _done(here, undeclared=tuple(missing))
        return answer

    def discard(self, ids: Sequence[int], reason: str, by: str, using: str) -> Answer:
        """Close waiting letters for good, with the reason of the person named. Waits for nobody."""
        answer = Answer()
        for chunk in _chunks(ids):
            with transaction.atomic(using=using):
                rows, answered = self._lock(chunk, using)
                self._close(rows, State.DISCARDED, reason, by, using)
                counts = Counter((row.group_name, row.handler, row.topic) for row in rows)
                transaction.on_commit(partial(_count_discarded, counts), using=using, robust=True)
            answer += answered + _done(rows)
        return answer

    def edit(self, id: int, value: bytes, using: str) -> Answer:
        """Have a waiting letter tried with this body from now on, and at once; the original body is kept."""
        with transaction.atomic(using=using):
            rows, answered = self._lock([id], using)
            self.using(using).filter(pk__in=[row.pk for row in rows]).update(edited_value=value, **_due_first())
        return answered + _done(rows)

    def _lock(self, ids: Sequence[int], using: str) -> tuple[list["DeadLetter"], Answer]:
        """Those of the letters that wait, or whose lease has ended, locked; and why the others are left alone."""
        waits = Q(state=State.WAITING) | Q(state=State.RUNNING, due_at__lte=Now())
        rows = self.using(using).filter(waits, pk__in=ids).defer("value", "headers", "edited_value")
        locked = list(rows.order_by("pk").select_for_update(skip_locked=True))
        if len(locked) == len(ids):
            return locked, Answer()
        closed = self.using(using).filter(pk__in=ids).exclude(IS_OPEN).count()
        return locked, Answer(closed=closed, running=max(len(ids) - len(locked) - closed, 0))

    # ── closing ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _close(self, rows: Sequence["DeadLetter"], state: State, reason: str, by: str, using: str) -> None:
        """Close locked letters, and let the next of each queue be due."""
        self.using(using).filter(pk__in=[row.pk for row in rows]).update(
            state=state, closed_at=Now(), closed_by=by, reason=reason, lease=None, due_at=None
        )
        self._promote(rows, using)
        Failure.objects.note([Change(row.failure_id, open_letters=-1) for row in rows], using)

    def _promote(self, rows: Sequence["DeadLetter"], using: str) -> None:
        """Let the next of each queue be due whose oldest letter was among these; ``rows`` are in the order of ids.

        Behind an older one, which may be running now, there is nothing to do and nobody to wait for: who closes that
        looks for the next, and waits for us.
        """
        oldest = {row.queue_key: row for row in reversed(rows) if row.automatic and row.queue_key}
        for queue_key in sorted(filter(None, oldest)):
            head = self._head(queue_key, using) if self._is_oldest(oldest[queue_key], using) else None
            if head is not None and head.due_at is None:
                self.using(using).filter(pk=head.pk).update(due_at=Now())


class DeadLetter(models.Model):
    """One event that one handler has failed with, and that is not handled yet, or was in the end."""

    id = models.BigAutoField(primary_key=True)
    state = models.CharField(_("state"), max_length=9, choices=State.choices, default=State.WAITING)
    topic = models.CharField(_("topic"), max_length=249)
    group_name = models.CharField(_("group"), max_length=55)
    handler = models.CharField(_("handler"), max_length=200)
    key_text = models.CharField(_("key"), max_length=SHOWN, null=True, db_index=True)
    """The beginning of the key as text: escaped where it is not UTF-8."""
    event_id = models.CharField(_("event id"), max_length=SHOWN, db_index=True)
    """The beginning of the event's id."""
    failure = models.ForeignKey(
        Failure, models.PROTECT, related_name="letters", db_index=False, verbose_name=_("failure")
    )
    exception = models.CharField(_("exception"), max_length=200)
    """The type of the last error."""
    message = models.TextField(_("error"))
    """The text of the last error."""
    attempts = models.PositiveIntegerField(_("attempts"))
    """How often the handler has tried it in all."""
    retries = models.PositiveIntegerField(default=0)
    """How often it was tried as a dead letter."""
    first_failed = models.DateTimeField(_("first failure"))
    last_failed = models.DateTimeField(_("last failure"))
    automatic = models.BooleanField(_("tried by itself"))
    """Whether it is tried again by itself (RETRY_LATER), or only when an operator says so."""
    due_at = models.DateTimeField(_("next try"), null=True)
    """From when anybody may take it; None: not before an operator says so, or an older letter of its key is closed."""
    lease = models.UUIDField(null=True, unique=True)
    """Who runs it knows this."""
    closed_at = models.DateTimeField(_("closed at"), null=True)
    closed_by = models.CharField(_("closed by"), max_length=200, default="", blank=True)
    """The person who discarded it, or the host that resolved it."""
    reason = models.TextField(_("reason"), default="", blank=True)
    """Why it was discarded or passed over."""
    saved_at = models.DateTimeField(db_default=Now())

    key = models.BinaryField(null=True)
    value = models.BinaryField(null=True)
    """The event's body, as it came."""
    edited_value = models.BinaryField(null=True)
    """The body that an operator has put in its place."""
    headers = models.BinaryField()
    """The event's headers as a MessagePack array of [name, bytes or nil]."""
    partition = models.IntegerField(_("partition"))
    offset = models.BigIntegerField(_("offset"))
    letter_partition = models.IntegerField()
    letter_offset = models.BigIntegerField()
    event_key = models.UUIDField(db_index=True)
    queue_key = models.UUIDField(null=True)

    objects: ClassVar[DeadLetterManager] = DeadLetterManager()

    class Meta:
        verbose_name = _("dead letter")
        verbose_name_plural = _("dead letters")
        default_permissions = ("view",)
        permissions = (
            ("view_payload", "Can see payloads, headers and tracebacks of dead letters"),
            ("retry_deadletter", "Can retry dead letters"),
            ("discard_deadletter", "Can discard dead letters"),
            ("edit_deadletter", "Can edit the payload of dead letters and retry them"),
        )
        constraints = (
            models.UniqueConstraint(fields=["event_key"], condition=IS_OPEN, name="django_events_letter_open"),
        )
        indexes = (
            models.Index(
                fields=["group_name", "due_at"], condition=Q(due_at__isnull=False), name="django_events_letter_due"
            ),
            models.Index(
                fields=["queue_key", "id"], condition=IS_OPEN & Q(automatic=True), name="django_events_letter_queue"
            ),
            # For the lists that people look at: the newest of all, or of those that are open, by what they choose.
            models.Index(fields=["last_failed"], name="django_events_letter_all"),
            models.Index(fields=["failure", "last_failed"], name="django_events_letter_failure"),
            models.Index(fields=["topic", "last_failed"], name="django_events_letter_topic"),
            models.Index(fields=["group_name", "last_failed"], name="django_events_letter_group"),
            models.Index(fields=["group_name", "handler", "last_failed"], name="django_events_letter_handler"),
            models.Index(fields=["last_failed"], condition=IS_OPEN, name="django_events_letter_open_all"),
            models.Index(fields=["failure", "last_failed"], condition=IS_OPEN, name="django_events_open_failure"),
            models.Index(fields=["topic", "last_failed"], condition=IS_OPEN, name="django_events_open_topic"),
            models.Index(fields=["group_name", "last_failed"], condition=IS_OPEN, name="django_events_open_group"),
            models.Index(
                fields=["group_name", "handler", "last_failed"], condition=IS_OPEN, name="django_events_open_handler"
            ),
        )

    def __str__(self) -> str:
        return f"{self.topic} {self.event_id} at {self.group_name}/{self.handler}"

    @property
    def is_open(self) -> bool:
        """Whether there is still something to do."""
        return self.state in OPEN

    @property
    def header_list(self) -> Headers:
        """The event's headers."""
        return _headers_decoder.decode(bytes(self.headers))

    def tells_of(self, letter: Letter) -> bool:
        """Whether the failure in the letter is part of this one's story."""
        return self.is_open or (self.closed_at is not None and self.closed_at >= letter.last_failed)

    def merge(self, letter: Letter, failure: Failure) -> None:
        """Take in what another letter of the same event tells, which is of this failure; not saved."""
        self.attempts += letter.attempts
        self.first_failed = min(self.first_failed, letter.first_failed)
        if letter.last_failed > self.last_failed:
            self.last_failed, self.exception, self.message = letter.last_failed, letter.exception, letter.message
            self.failure = failure


MERGED_FIELDS = ("attempts", "first_failed", "last_failed", "exception", "message", "failure")


class DeadLetterAttempt(models.Model):
    """What is known of one or more tries of a dead letter: those that made it one, and each that followed."""

    id = models.BigAutoField(primary_key=True)
    letter = models.ForeignKey(DeadLetter, models.CASCADE, related_name="tries")
    letter_key = models.UUIDField(null=True, unique=True)
    """The letter in Kafka that told of it. Kept for ever, so that a topic that is read again brings nothing back."""
    attempts = models.PositiveIntegerField(default=1)
    """How many tries this tells of."""
    began = models.DateTimeField()
    ended = models.DateTimeField()
    exception = models.CharField(max_length=200, default="")
    """Empty if the handler succeeded."""
    message = models.TextField(default="")
    traceback = models.TextField(default="")
    host = models.CharField(max_length=255, default="")
    """Who tried it; empty for what a letter from Kafka tells."""

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.ended:%Y-%m-%d %H:%M:%S} {self.exception or 'handled'}"


def _row_of(letter: Letter, failure: Failure, *, is_processed: bool) -> DeadLetter:
    closed = {"state": State.RESOLVED, "closed_at": timezone.now(), "reason": ALREADY} if is_processed else {}
    return DeadLetter(
        topic=letter.topic,
        group_name=letter.group_name,
        handler=letter.handler,
        key_text=letter.key_text[:SHOWN] if letter.key_text is not None else None,
        event_id=letter.event_id[:SHOWN],
        failure=failure,
        exception=letter.exception,
        message=letter.message,
        attempts=letter.attempts,
        first_failed=letter.first_failed,
        last_failed=letter.last_failed,
        automatic=letter.automatic,
        key=letter.key,
        value=letter.value,
        headers=msgspec.msgpack.encode(letter.headers),
        partition=letter.partition,
        offset=letter.offset,
        letter_partition=letter.letter_partition,
        letter_offset=letter.letter_offset,
        event_key=letter.event_key,
        queue_key=letter.queue_key,
        **closed,
    )


def _attempt_of(letter: Letter, row: DeadLetter) -> DeadLetterAttempt:
    return DeadLetterAttempt(
        letter=row,
        letter_key=letter.letter_key,
        attempts=letter.attempts,
        began=letter.first_failed,
        ended=letter.last_failed,
        exception=letter.exception,
        message=letter.message,
        traceback=letter.traceback,
    )


def _attempt_fields(letter: DeadLetter, tried: Tried) -> dict[str, Any]:
    return {
        "letter_id": letter.pk,
        "began": tried.began,
        "ended": tried.ended,
        "exception": tried.exception,
        "message": tried.message,
        "traceback": tried.traceback,
        "host": tried.host,
    }


def _state_for_people(state: str, *, automatic: bool) -> str:
    return "kept" if state == State.WAITING and not automatic else state


def _moved(before: int, after: int, *, is_open: bool = True) -> list[Change]:
    """How the numbers change when a letter has failed again: not, if in the same way as before."""
    if before == after:
        return []
    return [Change(before, open_letters=-int(is_open)), Change(after, 1, int(is_open))]


def _done(rows: Sequence[DeadLetter], undeclared: tuple[str, ...] = ()) -> Answer:
    return Answer(done=len(rows), undeclared=undeclared, changed=tuple(row.pk for row in rows))


def _count_discarded(counts: Mapping[tuple[str, str, str], int]) -> None:
    """Count them by group, handler and topic."""
    from django_events import metrics  # not before: each web process imports the models, and few discard anything

    for labels, count in counts.items():
        metrics.LETTERS_DISCARDED.of(*labels).add(count)


def _due_first() -> dict[str, Any]:
    """What an operator asks for is tried before all that is due by itself."""
    return {"state": State.WAITING, "lease": None, "due_at": Now() - FIRST}


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    ordered = sorted(set(ids))
    return (ordered[start : start + CHUNK] for start in range(0, len(ordered), CHUNK))


_headers_decoder = msgspec.msgpack.Decoder(Headers)
