"""Dead letters in the admin: the list, its actions, and the pages of one letter."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import QuerySet
from django.db.models.functions import Coalesce, Length
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_events import redaction
from django_events.admin import editing, letter_page, payloads, wording
from django_events.admin.bounded import BoundedAdmin, Dates, View
from django_events.admin.confirmation import ask, repair_view
from django_events.admin.letter_filters import (
    AttemptsFilter,
    FirstFailureFilter,
    KeyFilter,
    LastFailureFilter,
    NextTryFilter,
    StateFilter,
)
from django_events.admin.letter_search import LONGEST_PAYLOAD, search
from django_events.admin.letter_window import letters
from django_events.admin.names_filters import HANDLER, FailureFilter, GroupFilter, HandlerFilter, TopicFilter
from django_events.admin.repairs import REPAIRS
from django_events.admin.texts import breakable, cut, key_in_words, moment, short_name
from django_events.conf import settings
from django_events.consuming.letters import database_of_letters, declared_handlers, secrets_of
from django_events.models import DeadLetter, State
from django_events.models.windows import WINDOW, reading_along_indexes


class Ability(NamedTuple):
    """Something that a person can do, and where."""

    title: str
    address: str
    look: str = ""
    """The class of its button."""


@admin.register(DeadLetter)
class DeadLetterAdmin(BoundedAdmin):
    list_display = (
        "error",
        "shown_state",
        "next_try",
        "last",
        "attempts",
        "shown_handler",
        "shown_topic",
        "shown_key",
        "first",
    )
    list_display_links = ("error",)
    list_filter = (StateFilter, TopicFilter, GroupFilter, HandlerFilter, FailureFilter, KeyFilter, AttemptsFilter,
                   FirstFailureFilter, LastFailureFilter, NextTryFilter)  # fmt: skip
    date_hierarchy = "last_failed"
    ordering = ("-last_failed",)
    search_fields = ("key_text", "event_id")
    actions = ("retry", "discard")

    # ── the list ─────────────────────────────────────────────────────────────────────────────────────────────────

    def database(self, request: HttpRequest) -> str:
        return database_of_letters()

    def view(self, request: HttpRequest, chosen: Mapping[str, str], text: str, dates: Dates) -> View:
        view = letters(chosen, dates, self.database(request))
        if text:
            view = view._replace(rows=search(view.rows, text, in_payloads=self.may_see_payload(request)))
        return view._replace(rows=view.rows.defer("key", "value", "edited_value", "headers"))

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changes = super().get_changelist_instance(request)
        with reading_along_indexes(self.database(request)):
            messages = error_messages(changes.result_list) if self.may_see_payload(request) else {}
        for letter in changes.result_list:
            name = short_name(letter.exception)
            letter.shown_error = cut(": ".join(filter(None, (name, messages.get(letter.pk)))))
        changes.search_help_text = self._search_help(request)
        return changes

    def _search_help(self, request: HttpRequest) -> str:
        if self.may_see_payload(request):
            return _("The beginning of a key or event id, or anything in the error or the payload (up to 100 kB).")
        return _("The beginning of a key or event id.")

    @admin.display(description=gettext_lazy("error"), ordering="exception")
    def error(self, letter: Any) -> str:
        return str(letter.shown_error)

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def shown_state(self, letter: DeadLetter) -> str:
        return format_html('<span class="events-state events-{}">{}</span>', letter.state, letter.get_state_display())

    @admin.display(description=gettext_lazy("next try"), ordering="due_at")
    def next_try(self, letter: DeadLetter) -> str:
        return wording.next_try(letter, declared_handlers())

    @admin.display(description=gettext_lazy("handler"), ordering=HANDLER)
    def shown_handler(self, letter: DeadLetter) -> str:
        return breakable(f"{letter.group_name}/{letter.handler}")

    @admin.display(description=gettext_lazy("topic"), ordering="topic")
    def shown_topic(self, letter: DeadLetter) -> str:
        return breakable(letter.topic)

    @admin.display(description=gettext_lazy("key"), ordering="key_text")
    def shown_key(self, letter: DeadLetter) -> str:
        return cut(key_in_words(letter.key_text), 40)

    @admin.display(description=gettext_lazy("first failure"), ordering="first_failed")
    def first(self, letter: DeadLetter) -> str:
        return moment(letter.first_failed)

    @admin.display(description=gettext_lazy("last failure"), ordering="last_failed")
    def last(self, letter: DeadLetter) -> str:
        return moment(letter.last_failed)

    # ── actions on several ───────────────────────────────────────────────────────────────────────────────────────

    @admin.action(description=gettext_lazy("Retry now"), permissions=["retry"])
    def retry(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse:
        return self._ask(request, "retry", queryset)

    @admin.action(description=gettext_lazy("Discard"), permissions=["discard"])
    def discard(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse:
        return self._ask(request, "discard", queryset)

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *rest: Any) -> HttpResponse | None:
        if not all(each.isdecimal() for each in request.POST.getlist(ACTION_CHECKBOX_NAME)):
            raise BadRequest("The selection has something that is no dead letter.")
        return super().response_action(request, queryset, *rest)

    def _ask(self, request: HttpRequest, name: str, queryset: QuerySet[DeadLetter]) -> HttpResponse:
        """Selected letters are taken as they were selected, although the filter may not fit some any more."""
        changes = self.get_changelist_instance(request)
        if request.POST.get("select_across") == "1":
            with reading_along_indexes(self.database(request)):
                ids = list(queryset.values_list("pk", flat=True)[:WINDOW])
            return ask(self, request, REPAIRS[name], ids, filters=changes.filters_in_words, note=changes.note)
        ids = [int(each) for each in request.POST.getlist(ACTION_CHECKBOX_NAME)]
        return ask(self, request, REPAIRS[name], ids)

    # ── pages of one ─────────────────────────────────────────────────────────────────────────────────────────────

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        repairs = [
            path(f"{each.name}/", self._page(partial(repair_view, self, what=each)), name=f"{name}_{each.name}")
            for each in REPAIRS.values()
        ]
        own = [
            path("<path:object_id>/edit/", self._page(partial(editing.edit_view, self)), name=f"{name}_edit"),
            path("<path:object_id>/payload/", self._page(self.payload_view), name=f"{name}_payload"),
        ]
        return [*repairs, *own, *super().get_urls()]

    def _page(self, view: Any) -> Any:
        return self.admin_site.admin_view(view)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        letter = self.letter_or_404(request, object_id)
        with reading_along_indexes(self.database(request)):
            described = letter_page.describe(letter, sees_payload=self.may_see_payload(request))
        context = {
            **self.context(request, str(letter)),
            **described,
            "abilities": self._abilities(request, letter),
            "links": self._links(letter),
            "payload_url": self.address("payload", letter.pk),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/django_events/deadletter/detail.html", context)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return redirect(self.address("change", object_id))  # which shows it; Django's own page reads the whole log

    def payload_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The payload as a file, which no browser takes for a page."""
        letter = self.letter_or_404(request, object_id)
        if not self.may_see_payload(request):
            raise PermissionDenied
        data = payloads.download(payloads.payload_of(letter, edited="edited" in request.GET))
        disposition = f'attachment; filename="dead-letter-{letter.pk}.bin"'
        headers = {"Content-Disposition": disposition, "X-Content-Type-Options": "nosniff"}
        return HttpResponse(data, content_type="application/octet-stream", headers=headers)

    def letter_or_404(self, request: HttpRequest, object_id: str) -> DeadLetter:
        """The letter; raises PermissionDenied to those who may see none."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        letter: DeadLetter | None = self.get_object(request, unquote(object_id))
        if letter is None:
            raise Http404(_("There is no such dead letter."))
        return letter

    def _abilities(self, request: HttpRequest, letter: DeadLetter) -> list[Ability]:
        """What this person can do about the letter now."""
        if letter.state != State.WAITING:
            return []
        can_run = not wording.undeclared(letter)
        can_edit = can_run and self.may(request, "edit") and self.may_see_payload(request)
        found = [
            (can_run and self.may(request, "retry"), Ability(_("Retry now"), self.address("retry", ids=letter.pk))),
            (can_edit, Ability(_("Edit and retry"), self.address("edit", letter.pk))),
            (
                self.may(request, "discard"),
                Ability(_("Discard"), self.address("discard", ids=letter.pk), "events-destructive"),
            ),
        ]
        return [ability for is_given, ability in found if is_given]

    def _links(self, letter: DeadLetter) -> list[Ability]:
        found = [
            Ability(
                _("Dead letters of the same failure"),
                self.address("changelist", failure=letter.failure_id, state="all"),
            )
        ]
        if letter.key_text:
            found.append(
                Ability(_("Dead letters of the same key"), self.address("changelist", key=letter.key_text, state="all"))
            )
        return found

    # ── permissions ──────────────────────────────────────────────────────────────────────────────────────────────

    def may(self, request: HttpRequest, name: str) -> bool:
        """Whether this person sees dead letters and may do this to them."""
        return self.has_view_permission(request) and request.user.has_perm(f"{self.opts.app_label}.{name}_deadletter")

    def may_see_payload(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"{self.opts.app_label}.view_payload")

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "retry")

    def has_discard_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "discard")


def error_messages(rows: Sequence[DeadLetter]) -> dict[int, str]:
    """The errors' texts without what REDACT hides; of long payloads none, because they would have to be read."""
    if not settings.REDACT:
        return {letter.pk: letter.message for letter in rows}
    found = DeadLetter.objects.using(database_of_letters()).filter(pk__in=[letter.pk for letter in rows])
    short = found.alias(length=Coalesce(Length("value"), 0)).filter(length__lte=LONGEST_PAYLOAD)
    return {letter.pk: redaction.text(letter.message, secrets_of(letter)) for letter in short}
