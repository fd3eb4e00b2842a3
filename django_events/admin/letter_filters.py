"""Filters of the list of dead letters that are no names."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, ClassVar

from django.contrib.admin import ModelAdmin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from django_events.admin.names_filters import ParameterFilter
from django_events.consuming.letters import declared_handlers
from django_events.models import IS_OPEN, State
from django_events.models.dead_letters import SHOWN

OPEN = "open"
EVERY = "all"
AGES = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}
OLDER = timedelta(days=7)


class ChoiceFilter(ParameterFilter):
    """One of some conditions; a value that is none of them is passed over."""

    options: ClassVar[Mapping[str, tuple[Any, Any]]]
    """By value: how it is called, and the condition."""

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> list[tuple[str, Any]]:
        return [(value, title) for value, (title, _condition) in self.options.items()]

    def value(self) -> str | None:
        value = super().value()
        return value if value in self.options else None

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(self.condition(value)) if value else queryset

    def condition(self, value: str) -> Q:
        condition = self.options[value][1]
        return Q(condition() if callable(condition) else condition)


class StateFilter(ChoiceFilter):
    """What is open, unless something else is chosen."""

    title = _("state")
    parameter_name = "state"
    options: ClassVar[Mapping[str, tuple[str | Promise, Q]]] = {
        OPEN: (_("open"), IS_OPEN),
        **{state.value: (state.label, Q(state=state)) for state in State},
        EVERY: (_("all"), Q()),
    }

    def value(self) -> str:
        return super().value() or OPEN

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        _everything, *choices = super().choices(changelist)
        yield from choices


class KeyFilter(ParameterFilter):
    """One key, written by hand or chosen by a link."""

    title = _("key")
    parameter_name = "key"
    template = "admin/django_events/filter_by_text.html"

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> list[tuple[str, Any]]:
        return []

    def has_output(self) -> bool:
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(key_text=value[:SHOWN]) if value else queryset

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        yield {
            "selected": True,
            "display": self.value() or "",
            "name": self.parameter_name,
            "others": [pair for pair in changelist.params.items() if pair[0] != self.parameter_name],
            "query_string": changelist.get_query_string(remove=[str(self.parameter_name)]),
        }


class AttemptsFilter(ChoiceFilter):
    title = _("attempts")
    parameter_name = "attempts"
    options: ClassVar[Mapping[str, tuple[str | Promise, Q]]] = {
        "1": ("1", Q(attempts__lte=1)),
        "2-5": (_("2 to 5"), Q(attempts__range=(2, 5))),
        "6-20": (_("6 to 20"), Q(attempts__range=(6, 20))),
        "21-": (_("more than 20"), Q(attempts__gt=20)),
    }


def _ages(column: str) -> Mapping[str, tuple[str | Promise, Any]]:
    def since(age: str) -> Any:
        return lambda: Q(**{f"{column}__gte": timezone.now() - AGES[age]})

    return {
        "hour": (_("in the last hour"), since("hour")),
        "day": (_("in the last 24 hours"), since("day")),
        "week": (_("in the last 7 days"), since("week")),
        "older": (_("more than 7 days ago"), lambda: Q(**{f"{column}__lt": timezone.now() - OLDER})),
    }


class FirstFailureFilter(ChoiceFilter):
    title = _("first failure")
    parameter_name = "first"
    options = _ages("first_failed")


class LastFailureFilter(ChoiceFilter):
    title = _("last failure")
    parameter_name = "last"
    options = _ages("last_failed")


def is_declared() -> Q:
    """The letters whose handlers this site declares."""
    pairs = [Q(group_name=group, handler=handler) for group, handler in sorted(declared_handlers())]
    return Q(*pairs, _connector=Q.OR) if pairs else Q(pk__in=[])


_WAITS = Q(state=State.WAITING)


class NextTryFilter(ChoiceFilter):
    title = _("next try")
    parameter_name = "next"
    options: ClassVar[Mapping[str, tuple[str | Promise, Any]]] = {
        "now": (_("now"), lambda: _WAITS & Q(due_at__lte=timezone.now()) & is_declared()),
        "later": (_("later, by itself"), lambda: _WAITS & Q(due_at__gt=timezone.now()) & is_declared()),
        "behind": (
            _("behind an older one of its key"),
            lambda: _WAITS & Q(due_at__isnull=True, automatic=True) & is_declared(),
        ),
        "asked": (
            _("when somebody says so"),
            lambda: _WAITS & Q(due_at__isnull=True, automatic=False) & is_declared(),
        ),
        "undeclared": (_("handler not declared"), lambda: _WAITS & ~is_declared()),
    }
