"""What dead letters have in common: one row for each handler, topic and kind of error."""

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

from django.db import models
from django.db.models import F
from django.db.models.functions import Greatest
from django.utils.translation import gettext_lazy as _


class FailureKind(NamedTuple):
    """One failure, as far as it is like others."""

    fingerprint: uuid.UUID
    """A digest of group, handler, topic, exception, and the error's text without its numbers and quoted words."""
    group_name: str
    handler: str
    topic: str
    exception: str
    message: str
    seen: datetime


class Change(NamedTuple):
    """By how much the numbers of one failure change."""

    failure: int
    """Its primary key."""
    letters: int = 0
    open_letters: int = 0
    newest: FailureKind | None = None
    """The failure that has just been seen, if there was one."""


class FailureManager(models.Manager["Failure"]):
    def of(self, kinds: Iterable[FailureKind], using: str) -> dict[uuid.UUID, "Failure"]:
        """The rows of these kinds by fingerprint, added where they are missing. Waits for nobody who changes the
        numbers of one that is there. The first thing in a transaction, before letters are locked: of two that add the
        same one, the second waits."""
        wanted = {kind.fingerprint: kind for kind in kinds}
        found = self._found(wanted, using)
        if missing := sorted(wanted.keys() - found.keys()):
            rows = [_row_of(wanted[fingerprint]) for fingerprint in missing]
            self.using(using).bulk_create(rows, ignore_conflicts=True)
            found |= self._found(missing, using)
        return found

    def _found(self, fingerprints: Collection[uuid.UUID], using: str) -> dict[uuid.UUID, "Failure"]:
        return {row.fingerprint: row for row in self.using(using).filter(fingerprint__in=fingerprints)}

    def note(self, changes: Iterable[Change], using: str) -> None:
        """Change the numbers, and what was seen last. The last thing in a transaction, and in the order of keys, so
        that nobody waits for long, nor two for each other."""
        grouped: defaultdict[int, list[Change]] = defaultdict(list)
        for change in changes:
            grouped[change.failure].append(change)
        for failure in sorted(grouped):
            self.using(using).filter(pk=failure).update(**_news(grouped[failure]))


class Failure(models.Model):
    """One way in which one handler fails with events of one topic, and how many dead letters it has made."""

    id = models.BigAutoField(primary_key=True)
    fingerprint = models.UUIDField(unique=True)
    group_name = models.CharField(_("group"), max_length=55)
    handler = models.CharField(_("handler"), max_length=200)
    topic = models.CharField(_("topic"), max_length=249)
    exception = models.CharField(_("exception"), max_length=200)
    message = models.TextField(_("error"))
    """The text of the newest such error."""
    first_seen = models.DateTimeField(_("first seen"))
    last_seen = models.DateTimeField(_("last seen"), db_index=True)
    letters_ever = models.BigIntegerField(_("dead letters"), default=0)
    letters_open = models.BigIntegerField(_("open"), default=0)

    objects: ClassVar[FailureManager] = FailureManager()

    class Meta:
        verbose_name = _("failure")
        verbose_name_plural = _("failures")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.exception} at {self.group_name}/{self.handler}"


def _row_of(kind: FailureKind) -> Failure:
    return Failure(
        fingerprint=kind.fingerprint,
        group_name=kind.group_name,
        handler=kind.handler,
        topic=kind.topic,
        exception=kind.exception,
        message=kind.message,
        first_seen=kind.seen,
        last_seen=kind.seen,
    )


def _news(changes: Sequence[Change]) -> dict[str, Any]:
    """The fields of one failure that these changes touch."""
    fields: dict[str, Any] = {
        "letters_ever": F("letters_ever") + sum(change.letters for change in changes),
        "letters_open": F("letters_open") + sum(change.open_letters for change in changes),
    }
    seen = sorted((change.newest for change in changes if change.newest), key=lambda kind: kind.seen)
    if seen:
        fields |= {"last_seen": Greatest(F("last_seen"), seen[-1].seen), "message": seen[-1].message}
    return fields
