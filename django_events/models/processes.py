"""The processes that send and handle events: each writes a row about itself, and again and again that it is there."""

import uuid
from collections.abc import Collection
from datetime import timedelta
from typing import Any, ClassVar, NamedTuple

from django.db import models, transaction
from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

SILENT = timedelta(seconds=45)
"""How long a process may say nothing: it says something every 10 seconds, if it gets the processor."""

KEPT = timedelta(hours=1)
"""How long the row of a silent process is kept, for people to see that it was there."""

MOST_SILENT = 500
"""Rows of silent processes that are kept at most: something that is started and killed again and again makes many."""

SHOWN = 1_000
"""Processes that are read at most."""


class Kind(models.TextChoices):
    """What a process is there for; of several, the first."""

    CONSUME = "consume", _("consume")
    CATCHUP = "catchup", _("catchup")
    SERVICE = "service", _("Service")
    RELAY = "relay", _("sends its events")


class Beat(NamedTuple):
    """What a process says of itself."""

    kind: Kind
    host: str
    pid: int
    version: str
    """Of django_events."""
    age: float
    """Seconds since it has begun."""
    activity: dict[str, Any]
    """JSON's types, and not much of it."""


class Known(NamedTuple):
    """A process, and its times by the clock of the database."""

    process: "Process"
    silent_for: timedelta
    """How long it has said nothing."""
    age: timedelta
    """How long ago it began."""


class ProcessManager(models.Manager["Process"]):
    def beat(self, key: uuid.UUID, beat: Beat, using: str) -> None:
        """The process is there. Makes its row, or renews it."""
        fields = {**beat._asdict(), "seen_at": Now()}
        age = fields.pop("age")
        if not self.using(using).filter(pk=key).update(**fields):
            self.using(using).create(pk=key, started_at=Now() - timedelta(seconds=age), **fields)

    def remove(self, key: uuid.UUID, using: str) -> None:
        """The process ends."""
        self.using(using).filter(pk=key).delete()

    def prune(self, using: str) -> int:
        """Delete the rows of processes that have been silent for long, and of silent ones that are too many; how many
        that were. Waits for nobody."""
        with transaction.atomic(using=using):
            old = self._silent_for(KEPT, using)
            surplus = self._silent_for(SILENT, using).order_by("-seen_at", "pk")[MOST_SILENT:]
            keys = self._lock([*old.values_list("pk", flat=True), *surplus.values_list("pk", flat=True)], using)
            self.using(using).filter(pk__in=keys).delete()
        return len(keys)

    def known(self, using: str) -> list[Known]:
        """All processes that have a row, those first that have said something last."""
        rows = self.using(using).annotate(silent_for=_since("seen_at"), age=_since("started_at"))
        return [Known(row, row.silent_for, row.age) for row in rows.order_by("-seen_at", "pk")[:SHOWN]]

    def _silent_for(self, time: timedelta, using: str) -> "models.QuerySet[Process]":
        return self.using(using).filter(seen_at__lt=Now() - time)

    def _lock(self, keys: Collection[uuid.UUID], using: str) -> set[uuid.UUID]:
        """Those of them that nobody else deletes or renews."""
        rows = self.using(using).filter(pk__in=keys).order_by("pk").select_for_update(skip_locked=True)
        return set(rows.values_list("pk", flat=True))


class Process(models.Model):
    """One process, as it was when it said something last. It deletes its row when it ends; that of one which was killed
    stays for ``KEPT``, and grows old."""

    key = models.UUIDField(primary_key=True)
    """Chosen by the process: hosts in containers have each other's names and numbers."""
    kind = models.CharField(max_length=10, choices=Kind.choices)
    host = models.CharField(max_length=255)
    pid = models.BigIntegerField()
    version = models.CharField(max_length=50)
    """Of django_events."""
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    activity = models.JSONField()
    """What it does; ``presence/activity.py`` knows its form."""

    objects: ClassVar[ProcessManager] = ProcessManager()

    class Meta:
        verbose_name = _("process")
        verbose_name_plural = _("status")  # the page on which the admin shows them, with all else
        default_permissions = ("view",)
        # No index but the key's: there are few rows, and renewing one changes nothing that is indexed.

    def __str__(self) -> str:
        return f"{self.kind} {self.host}:{self.pid}"


def _since(moment: str) -> models.Expression:
    return ExpressionWrapper(Now() - F(moment), output_field=DurationField())
