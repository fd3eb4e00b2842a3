"""Failures in the admin: what goes wrong in which handler. The page to begin with."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_events import redaction
from django_events.admin.bounded import BoundedAdmin, Dates, View
from django_events.admin.names_filters import (
    HANDLER,
    ExceptionFilter,
    GroupFilter,
    HandlerFilter,
    TopicFilter,
    newest_failures,
)
from django_events.admin.texts import breakable, cut, moment, short_name
from django_events.conf import settings
from django_events.consuming.letters import database_of_letters, secrets_of
from django_events.models import DeadLetter, Failure
from django_events.models.windows import WINDOW, reading_along_indexes, window


@admin.register(Failure)
class FailureAdmin(BoundedAdmin):
    list_display = ("error", "open_letters", "all_letters", "last", "shown_handler", "shown_topic", "first")
    list_display_links = None
    list_filter = (GroupFilter, HandlerFilter, TopicFilter, ExceptionFilter)
    list_per_page = 50
    ordering = ("-last_seen",)
    search_fields = ("exception",)
    search_help_text = gettext_lazy("Anything in the exception or its text.")

    def database(self, request: HttpRequest) -> str:
        return database_of_letters()

    def view(self, request: HttpRequest, chosen: Mapping[str, str], text: str, dates: Dates) -> View:
        rows = newest_failures(self.database(request))
        if text:
            in_message = Q(message__icontains=text) if self.may_see_messages(request) else Q()
            rows = rows.filter(Q(exception__icontains=text) | in_message)
        return View(rows, _("the %(count)s failures that were seen last") % {"count": f"{WINDOW:,}"})

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changes = super().get_changelist_instance(request)
        with reading_along_indexes(self.database(request)):
            messages = error_messages(changes.result_list) if self.may_see_messages(request) else {}
        for failure in changes.result_list:
            failure.shown_error = cut(messages.get(failure.pk, ""))
        return changes

    def may_see_messages(self, request: HttpRequest) -> bool:
        """Errors quote payloads, so who may not see these does not see errors' texts either."""
        return request.user.has_perm(f"{self.opts.app_label}.view_payload")

    @admin.display(description=gettext_lazy("error"), ordering="exception")
    def error(self, failure: Any) -> str:
        html = '<strong title="{}">{}</strong><br>{}'
        return format_html(html, failure.exception, short_name(failure.exception), failure.shown_error)

    @admin.display(description=gettext_lazy("handler"), ordering=HANDLER)
    def shown_handler(self, failure: Failure) -> str:
        return breakable(f"{failure.group_name}/{failure.handler}")

    @admin.display(description=gettext_lazy("topic"), ordering="topic")
    def shown_topic(self, failure: Failure) -> str:
        return breakable(failure.topic)

    @admin.display(description=gettext_lazy("open"), ordering="letters_open")
    def open_letters(self, failure: Failure) -> str:
        return self._letters(failure, failure.letters_open)

    @admin.display(description=gettext_lazy("ever"), ordering="letters_ever")
    def all_letters(self, failure: Failure) -> str:
        return self._letters(failure, failure.letters_ever, "&state=all")

    @admin.display(description=gettext_lazy("first seen"), ordering="first_seen")
    def first(self, failure: Failure) -> str:
        return moment(failure.first_seen)

    @admin.display(description=gettext_lazy("last seen"), ordering="last_seen")
    def last(self, failure: Failure) -> str:
        return moment(failure.last_seen)

    def _letters(self, failure: Failure, count: int, more: str = "") -> str:
        letters = reverse(f"{self.admin_site.name}:{self.opts.app_label}_deadletter_changelist")
        return format_html('<a href="{}?failure={}{}">{}</a>', letters, failure.pk, more, f"{count:,}")


def error_messages(failures: Sequence[Failure]) -> dict[int, str]:
    """The errors' texts without what REDACT hides in the newest letter of each, whose text it is."""
    return {failure.pk: _redacted(failure) if settings.REDACT else failure.message for failure in failures}


def _redacted(failure: Failure) -> str:
    letters = DeadLetter.objects.using(database_of_letters())
    newest = window(letters, ["failure_id", "last_failed"], [failure.pk], [failure.pk], size=1).first()
    return redaction.text(failure.message, secrets_of(newest)) if newest else failure.message
