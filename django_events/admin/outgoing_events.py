"""Outgoing events in the admin: what waits to be sent, the oldest first, and what is set aside."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db import router
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_events import cloudevents
from django_events.admin.bounded import BoundedAdmin, Dates, View
from django_events.admin.confirmation import numbers
from django_events.admin.letter_filters import ChoiceFilter
from django_events.admin.names_filters import ParameterFilter
from django_events.admin.set_aside import DISCARD, SEND_AGAIN, SetAsideAction
from django_events.admin.texts import breakable, cut, key_in_words, moment, span
from django_events.conf import settings
from django_events.models import IS_SET_ASIDE, OutgoingEvent
from django_events.models.windows import WINDOW, reading_along_indexes, window

SET_ASIDE = "aside"

DATABASE = "database"
"""The parameter that says whose outbox is looked at."""


class PlaceFilter(ChoiceFilter):
    """What is set aside, or what waits in a lane."""

    title = gettext_lazy("place")
    parameter_name = "place"
    options: ClassVar[Mapping[str, tuple[Any, Q]]] = {
        SET_ASIDE: (gettext_lazy("set aside"), IS_SET_ASIDE),
        "lane": (gettext_lazy("waiting in a lane"), ~IS_SET_ASIDE),
    }


class DatabaseFilter(ParameterFilter):
    """Whose outbox is looked at, where there are several."""

    title = gettext_lazy("database")
    parameter_name = DATABASE

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(each, each) for each in settings.DATABASES] if len(settings.DATABASES) > 1 else []

    def value(self) -> str:
        return outbox(super().value())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset  # of that database already

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        _all_of_them, *choices = super().choices(changelist)
        yield from choices


def outbox(chosen: str | None) -> str:
    """The database with this outbox; if there is none, that of the outbox in which events are saved by default."""
    if chosen is not None and chosen in settings.DATABASES:
        return chosen
    return router.db_for_write(OutgoingEvent)


@admin.register(OutgoingEvent)
class OutgoingEventAdmin(BoundedAdmin):
    list_display = ("event_id", "shown_topic", "shown_key", "shown_lane", "age", "saved", "shown_error")
    list_display_links = None
    list_filter = (PlaceFilter, DatabaseFilter)
    ordering = ("pk",)
    sortable_by = ()
    search_fields = ("event_id",)
    search_help_text = gettext_lazy("The beginning of an event id, among the oldest 10,000 events.")
    actions = ("send_again", "discard")

    def database(self, request: HttpRequest) -> str:
        return outbox(request.GET.get(DATABASE))

    def view(self, request: HttpRequest, chosen: Mapping[str, str], text: str, dates: Dates) -> View:
        every = OutgoingEvent.objects.using(self.database(request))
        is_about_set_aside = chosen.get("place") == SET_ASIDE
        rows = window(every.filter(IS_SET_ASIDE) if is_about_set_aside else every, ["id"], backwards=False)
        if text:
            rows = rows.filter(event_id__startswith=text)
        title = (
            _("the oldest %s events that are set aside") if is_about_set_aside else _("the oldest %s outgoing events")
        )
        return View(rows.defer("value", "headers"), title % f"{WINDOW:,}")

    # ── actions ──────────────────────────────────────────────────────────────────────────────────────────────────

    @admin.action(description=SEND_AGAIN.title, permissions=["send_again"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[OutgoingEvent]) -> HttpResponse | None:
        return self._confirm(request, queryset, SEND_AGAIN)

    @admin.action(description=DISCARD.title, permissions=["discard"])
    def discard(self, request: HttpRequest, queryset: QuerySet[OutgoingEvent]) -> HttpResponse | None:
        return self._confirm(request, queryset, DISCARD)

    def _confirm(
        self, request: HttpRequest, queryset: QuerySet[OutgoingEvent], what: SetAsideAction
    ) -> HttpResponse | None:
        """Asks first, with the number of events; acts when a person has said so, on exactly those that were counted."""
        with reading_along_indexes(self.database(request)):
            ids = sorted(queryset.filter(IS_SET_ASIDE).values_list("pk", flat=True)[:WINDOW])
        if "confirmed" in request.POST:
            ids = sorted({*ids} & {*numbers(request.POST["confirmed"])})
        form = what.form(request.POST if "confirmed" in request.POST else None)
        if form.is_valid():
            assert request.user.is_authenticated
            done = what.run(ids, request.user, form.cleaned_data, self.database(request))
            self.message_user(request, done, messages.SUCCESS)
            return None
        context = {
            **self.context(request, what.title),
            "what": what,
            "count": len(ids),
            "ids": ",".join(map(str, ids)),
            "form": form,
        }
        return TemplateResponse(request, "admin/django_events/outgoingevent/confirm.html", context)

    def has_send_again_permission(self, request: HttpRequest) -> bool:
        return self._may(request, SEND_AGAIN)

    def has_discard_permission(self, request: HttpRequest) -> bool:
        return self._may(request, DISCARD)

    def _may(self, request: HttpRequest, what: SetAsideAction) -> bool:
        name = f"{self.opts.app_label}.{what.name}_outgoingevent"
        return self.has_view_permission(request) and request.user.has_perm(name)

    # ── columns ──────────────────────────────────────────────────────────────────────────────────────────────────

    @admin.display(description=gettext_lazy("topic"))
    def shown_topic(self, event: OutgoingEvent) -> str:
        return breakable(event.topic)

    @admin.display(description=gettext_lazy("key"))
    def shown_key(self, event: OutgoingEvent) -> str:
        return cut(key_in_words(cloudevents.to_text(None if event.key is None else bytes(event.key))), 40)

    @admin.display(description=gettext_lazy("lane"))
    def shown_lane(self, event: OutgoingEvent) -> str:
        return _("set aside") if event.lane is None else str(event.lane)

    @admin.display(description=gettext_lazy("age"))
    def age(self, event: OutgoingEvent) -> str:
        return span(timezone.now() - event.saved_at)

    @admin.display(description=gettext_lazy("saved"))
    def saved(self, event: OutgoingEvent) -> str:
        return moment(event.saved_at)

    @admin.display(description=gettext_lazy("error"))
    def shown_error(self, event: OutgoingEvent) -> str:
        return format_html('<span class="events-error">{}</span>', cut(event.error)) if event.error else "–"
