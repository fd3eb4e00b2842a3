"""Processed events in the admin: what exactly-once handlers have committed, the newest first."""

from collections.abc import Mapping

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_events.admin.bounded import BoundedAdmin, Dates, View
from django_events.admin.texts import cut, moment
from django_events.models import ProcessedEvent
from django_events.models.windows import WINDOW, as_table, window


@admin.register(ProcessedEvent)
class ProcessedEventAdmin(BoundedAdmin):
    list_display = ("shown_id", "topic", "source", "handled_by", "processed")
    list_display_links = None
    ordering = ("-processed_at",)
    sortable_by = ()
    search_fields = ("event_id",)
    search_help_text = gettext_lazy("A whole event id, among all of them.")

    def view(self, request: HttpRequest, chosen: Mapping[str, str], text: str, dates: Dates) -> View:
        rows = ProcessedEvent.objects.using(self.database(request))
        if text:
            title = _("%s processed events of this id") % f"{WINDOW:,}"
            return View(as_table(rows.filter(event_id=text)[:WINDOW]), title)
        return View(window(rows, ["processed_at"]), _("the newest %s processed events") % f"{WINDOW:,}")

    @admin.display(description=gettext_lazy("event id"))
    def shown_id(self, event: ProcessedEvent) -> str:
        return cut(event.event_id)

    @admin.display(description=gettext_lazy("handler"))
    def handled_by(self, event: ProcessedEvent) -> str:
        return f"{event.group_name}/{event.handler}"

    @admin.display(description=gettext_lazy("processed at"))
    def processed(self, event: ProcessedEvent) -> str:
        return moment(event.processed_at)
