"""The page on which a person edits the payload of one dead letter, and has it tried with that."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_events import redaction
from django_events.admin.repairs import log
from django_events.admin.wording import answer_in_words, situation
from django_events.consuming import repair
from django_events.consuming.bodies import printable
from django_events.consuming.letters import database_of_letters, secrets_of
from django_events.exceptions import DeclarationError, DecodeError
from django_events.models import Answer, DeadLetter, State

if TYPE_CHECKING:
    from django_events.admin.dead_letters import DeadLetterAdmin


class PayloadForm(forms.Form):
    """The payload, checked against the type that the topic declares when the letter is edited."""

    payload = forms.CharField(
        label=gettext_lazy("Payload"),
        strip=False,
        widget=forms.Textarea(attrs={"rows": 24, "cols": 100, "spellcheck": "false", "class": "events-payload"}),
    )


def edit_view(admin: "DeadLetterAdmin", request: HttpRequest, object_id: str) -> HttpResponse:
    """Shows the form on GET; on POST edits and retries, or says what does not fit and changes nothing."""
    letter = admin.letter_or_404(request, object_id)
    if not (admin.may(request, "edit") and admin.may_see_payload(request)):
        raise PermissionDenied
    form = PayloadForm(request.POST if request.method == "POST" else None, initial=_initial(letter))
    if request.method == "POST" and form.is_valid():
        answer = _edit(letter, form, request)
        if answer is not None:
            _tell(request, answer)
            return redirect(admin.address("change", letter.pk, request=request))
    return _page(admin, request, letter, form)


def _initial(letter: DeadLetter) -> dict[str, Any]:
    return {"payload": printable(repair.editable_payload(letter))}


def _edit(letter: DeadLetter, form: PayloadForm, request: HttpRequest) -> Answer | None:
    """None if the payload does not fit; the form says why."""
    assert request.user.is_authenticated
    try:
        with transaction.atomic(using=database_of_letters()):
            answer = repair.edit(letter, form.cleaned_data["payload"])
            log(answer.changed, request.user, _("Edited the payload, and retry now."))
    except DecodeError as error:
        form.add_error("payload", str(error))
        return None
    except DeclarationError as error:
        form.add_error(None, str(error))
        return None
    return answer


def _tell(request: HttpRequest, answer: Answer) -> None:
    done = _("The dead letter is tried now, with the edited payload. The original is kept.")
    for is_good, sentence in answer_in_words(done, answer):
        messages.add_message(request, messages.SUCCESS if is_good else messages.WARNING, sentence)


def _page(admin: "DeadLetterAdmin", request: HttpRequest, letter: DeadLetter, form: PayloadForm) -> TemplateResponse:
    context = {
        **admin.context(request, _("Edit and retry")),
        "letter": letter,
        "form": form,
        "problem": "" if letter.state == State.WAITING else situation(letter),
        "page_url": admin.address("change", letter.pk, request=request),
        "error": redaction.text(printable(letter.message), secrets_of(letter)),
    }
    return TemplateResponse(request, "admin/django_events/deadletter/edit.html", context)
