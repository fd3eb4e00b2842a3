"""The page that counts first what an action would do, and does it when a person says so."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from django_events.admin.names_filters import LONGEST_ID
from django_events.admin.repairs import Repair, forecast
from django_events.admin.wording import answer_in_words
from django_events.models.windows import WINDOW, reading_along_indexes

if TYPE_CHECKING:
    from django_events.admin.dead_letters import DeadLetterAdmin


def repair_view(admin: "DeadLetterAdmin", request: HttpRequest, what: Repair) -> HttpResponse:
    """Asks on GET, acts on POST. The letters are exactly those that were counted, whatever has arrived since."""
    if not admin.may(request, what.name):
        raise PermissionDenied
    given = request.POST if request.method == "POST" else request.GET
    ids = _visible(admin, request, numbers(given.get("ids", "")))
    form = what.form(request.POST) if request.method == "POST" else what.form()
    if request.method != "POST" or not form.is_valid():
        return ask(admin, request, what, ids, form=form)
    assert request.user.is_authenticated
    answer = what.run(ids, request.user, form.cleaned_data)
    for is_good, sentence in answer_in_words(what.done(answer.done), answer):
        messages.add_message(request, messages.SUCCESS if is_good else messages.WARNING, sentence)
    return redirect(_back(admin, request, ids))


def ask(
    admin: "DeadLetterAdmin", request: HttpRequest, what: Repair, ids: Sequence[int], **more: Any
) -> TemplateResponse:
    """The page that asks whether to do this to these letters."""
    with reading_along_indexes(admin.database(request)):
        counted = forecast(ids, what)
    context = {
        **admin.context(request, what.title),
        "what": what,
        "forecast": counted,
        "ids": ",".join(map(str, ids)),
        "most": WINDOW if len(ids) >= WINDOW else None,
        "action_url": admin.address(what.name, request=request),
        "back_url": _back(admin, request, ids),
        "form": what.form(),
        **more,
    }
    return TemplateResponse(request, "admin/django_events/deadletter/confirm.html", context)


def numbers(text: str) -> list[int]:
    """The primary keys in a text such as "3,5,8": at most so many as a page looks at; what is none is left out."""
    found = {int(part) for part in text.split(",") if part.isdecimal() and len(part) < LONGEST_ID}
    return sorted(found)[:WINDOW]


def _visible(admin: "DeadLetterAdmin", request: HttpRequest, ids: Sequence[int]) -> list[int]:
    """Those of the letters that this person may see, as far as a site narrows ``get_queryset``."""
    with reading_along_indexes(admin.database(request)):
        return sorted(admin.get_queryset(request).filter(pk__in=ids).values_list("pk", flat=True))


def _back(admin: "DeadLetterAdmin", request: HttpRequest, ids: Sequence[int]) -> str:
    """Where the person came from: the list as it was filtered, or the page of the only letter."""
    if len(ids) == 1 and not admin.list_filters(request):
        return admin.address("change", ids[0])
    return admin.list_url(request)
