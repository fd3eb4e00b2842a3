"""Filters by topic, group, handler and failure. Their choices come from the failures, of which there are few: asking
the dead letters for their distinct names would read all of them."""

from collections.abc import Iterable
from typing import Any

from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.db.models import CharField, F, QuerySet, Value
from django.db.models.functions import Concat
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from django_events.admin.texts import breakable, cut, short_name
from django_events.models import Failure
from django_events.models.windows import window

CHOICES = 200
"""Names that one filter offers at most. Others can be chosen by a link or address."""

LONGEST_ID = 19
"""Digits that are too many for a primary key."""

HANDLER = Concat(F("group_name"), Value("/"), F("handler"), output_field=CharField())
"""Group and name: a handler's name alone is not unique."""


def newest_failures(using: str) -> QuerySet[Failure]:
    return window(Failure.objects.using(using), ["last_seen"])


class ParameterFilter(SimpleListFilter):
    """A filter whose value may be anything that somebody writes into the address."""

    def value(self) -> str | None:
        return (super().value() or "").replace("\0", "") or None


class NameFilter(ParameterFilter):
    """One of the names in a column that failures and dead letters have both."""

    column: Any

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> Iterable[tuple[str, Any]]:
        rows = newest_failures(model_admin.get_queryset(request).db)
        names = rows.values_list(self.column, flat=True).distinct().order_by(self.column)
        return [(name, breakable(name)) for name in names[:CHOICES]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.alias(wanted=self.column).filter(wanted=value) if value else queryset


class TopicFilter(NameFilter):
    title = _("topic")
    parameter_name = "topic"
    column = F("topic")


class GroupFilter(NameFilter):
    title = _("group")
    parameter_name = "group"
    column = F("group_name")


class HandlerFilter(NameFilter):
    title = _("handler")
    parameter_name = "handler"
    column = HANDLER


class ExceptionFilter(NameFilter):
    title = _("exception")
    parameter_name = "exception"
    column = F("exception")


class FailureFilter(ParameterFilter):
    """The kind of error; offers the newest ones, and the one that a link has chosen."""

    title = _("failure")
    parameter_name = "failure"
    offered = 20

    def value(self) -> str | None:
        value = super().value() or ""
        return value if value.isdecimal() and len(value) < LONGEST_ID else None

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> Iterable[tuple[str, Any]]:
        using = model_admin.get_queryset(request).db
        found = list(newest_failures(using).order_by("-last_seen", "-pk")[: self.offered])
        chosen = self.value()
        if chosen and chosen not in {str(each.pk) for each in found}:
            found += Failure.objects.using(using).filter(pk=chosen)
        return [(str(each.pk), _in_words(each)) for each in found]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(failure_id=value) if value else queryset


def _in_words(failure: Failure) -> str:
    return _("%(error)s at %(handler)s") % {
        "error": cut(short_name(failure.exception), 80),
        "handler": f"{failure.group_name}/{failure.handler}",
    }
