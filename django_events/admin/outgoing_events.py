"""Outgoing events in the admin: what waits to be sent, the oldest first."""

from collections.abc import Mapping

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_events import cloudevents
from django_events.admin.bounded import BoundedAdmin, Dates, View
from django_events.admin.texts import breakable, cut, key_in_words, moment, span
from django_events.models import OutgoingEvent
from django_events.models.windows import WINDOW, window


@admin.register(OutgoingEvent)
class OutgoingEventAdmin(BoundedAdmin):
    list_display = ("event_id", "shown_topic", "shown_key", "shown_lane", "age", "saved", "shown_error")
    list_display_links = None
    ordering = ("pk",)
    sortable_by = ()
    search_fields = ("event_id",)
    search_help_text = gettext_lazy("The beginning of an event id, among the oldest 10,000 events.")

    def view(self, request: HttpRequest, chosen: Mapping[str, str], text: str, dates: Dates) -> View:
        rows = window(OutgoingEvent.objects.using(self.database), ["id"], backwards=False)
        if text:
            rows = rows.filter(event_id__startswith=text)
        return View(rows.defer("value", "headers"), _("the oldest %s outgoing events") % f"{WINDOW:,}")

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
