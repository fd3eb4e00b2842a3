"""The actions on dead letters: what each asks and does. Every one is confirmed, checked on the server, and logged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.db.models import Count
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_events.admin.asking import NoQuestions, ReasonForm
from django_events.consuming import repair
from django_events.consuming.letters import database_of_letters, declared_handlers
from django_events.models import Answer, DeadLetter, State
from django_events.models.dead_letters import CHUNK
from django_events.models.windows import WINDOW, as_table


class Repair:
    """Something that is done to some dead letters."""

    name: ClassVar[str]
    """In addresses; with ``_deadletter`` behind it, the permission."""
    title: ClassVar[str | Promise]
    explanation: ClassVar[str | Promise]
    form: ClassVar[type[forms.Form]]
    is_destructive = False

    def run(self, ids: Sequence[int], by: AbstractBaseUser, given: Mapping[str, Any]) -> Answer:
        """Do it, and note in Django's log to which letters: in one transaction for each few hundred of them."""
        answer = Answer()
        for start in range(0, len(ids), CHUNK):
            with transaction.atomic(using=database_of_letters()):
                answer += self._logged(ids[start : start + CHUNK], by, given)
        return answer

    def _logged(self, ids: Sequence[int], by: AbstractBaseUser, given: Mapping[str, Any]) -> Answer:
        answer = self._do(ids, by, given)
        log(answer.changed, by, self.log_line(given))
        return answer

    def _do(self, ids: Sequence[int], by: AbstractBaseUser, given: Mapping[str, Any]) -> Answer:
        raise NotImplementedError

    def log_line(self, given: Mapping[str, Any]) -> str:
        raise NotImplementedError

    def done(self, count: int) -> str:
        """What was done to so many letters, as a sentence."""
        raise NotImplementedError


class Retry(Repair):
    name = "retry"
    title = gettext_lazy("Retry now")
    explanation = gettext_lazy(
        "Only the handler that failed is run, by whichever consume runs its group. Letters that wait behind an older "
        "one of their key are tried too."
    )
    form = NoQuestions

    def _do(self, ids: Sequence[int], by: AbstractBaseUser, given: Mapping[str, Any]) -> Answer:
        return repair.retry(ids)

    def log_line(self, given: Mapping[str, Any]) -> str:
        return _("Retry now.")

    def done(self, count: int) -> str:
        return ngettext("%d dead letter is tried now.", "%d dead letters are tried now.", count) % count


class Discard(Repair):
    name = "discard"
    title = gettext_lazy("Discard")
    explanation = gettext_lazy(
        "The events are given up for the handlers that failed with them. The letters stay here to be looked at; they "
        "are never tried again."
    )
    form = ReasonForm
    is_destructive = True

    def _do(self, ids: Sequence[int], by: AbstractBaseUser, given: Mapping[str, Any]) -> Answer:
        return repair.discard(ids, given["reason"], by.get_username())

    def log_line(self, given: Mapping[str, Any]) -> str:
        return _("Discarded: %s") % str(given["reason"])

    def done(self, count: int) -> str:
        return ngettext("%d dead letter was discarded.", "%d dead letters were discarded.", count) % count


REPAIRS: Mapping[str, Repair] = {each.name: each for each in (Retry(), Discard())}


@dataclass(frozen=True, slots=True)
class Forecast:
    """What an action would do to some letters, counted before it is done."""

    total: int
    waiting: int
    """To how many it would be done."""
    closed: int
    running: int
    undeclared: tuple[tuple[str, int], ...]
    """Handlers that this site does not declare, and their letters."""


def forecast(ids: Sequence[int], what: Repair) -> Forecast:
    """Count what would be done, and what would be left alone."""
    rows = as_table(DeadLetter.objects.using(database_of_letters()).filter(pk__in=ids)[:WINDOW])
    counted = rows.values_list("state", "group_name", "handler").annotate(count=Count("pk")).order_by()
    declared = declared_handlers()
    groups = [(state, (group, name), count) for state, group, name, count in counted]

    def is_undeclared(handler: tuple[str, str]) -> bool:
        return isinstance(what, Retry) and handler not in declared

    return Forecast(
        total=sum(count for _state, _handler, count in groups),
        waiting=sum(n for state, handler, n in groups if state == State.WAITING and not is_undeclared(handler)),
        closed=sum(n for state, _handler, n in groups if state in (State.RESOLVED, State.DISCARDED)),
        running=sum(n for state, _handler, n in groups if state == State.RUNNING),
        undeclared=tuple(
            ("/".join(handler), n) for state, handler, n in groups if state == State.WAITING and is_undeclared(handler)
        ),
    )


def log(ids: Sequence[int], by: AbstractBaseUser, line: str) -> None:
    """Note in Django's log what a person has done to these letters."""
    rows = DeadLetter.objects.using(database_of_letters()).filter(pk__in=ids)
    LogEntry.objects.log_actions(by.pk, rows.only("topic", "event_id", "group_name", "handler"), CHANGE, line)
