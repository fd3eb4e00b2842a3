"""The actions on outgoing events that are set aside: send again, and discard. Each is confirmed and logged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_events.admin.asking import NoQuestions, ReasonForm
from django_events.models import OutgoingEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAsideAction:
    """Something that is done to events that are set aside. Immutable."""

    name: str
    """Of the action; with ``_outgoingevent`` behind it, of the permission."""
    title: Any
    explanation: Any
    """Both texts, translated when they are shown."""
    form: type[forms.Form] = NoQuestions
    is_destructive: bool = False

    def run(self, ids: Sequence[int], by: AbstractBaseUser, given: Mapping[str, Any], using: str) -> str:
        """Do it to those that are set aside in this outbox and log it. Returns what was done, in words."""
        with transaction.atomic(using=using):
            rows = list(OutgoingEvent.objects.using(using).filter(pk__in=ids).only("pk", "topic", "event_id"))
            act = OutgoingEvent.objects.discard if self.is_destructive else OutgoingEvent.objects.send_again
            done = set(act(ids, using))
            line = _("Discarded: %s") % given["reason"] if self.is_destructive else _("Sent again.")
            flag = DELETION if self.is_destructive else CHANGE
            LogEntry.objects.log_actions(by.pk, [row for row in rows if row.pk in done], flag, line)
        return self._answer(len(done), len(ids) - len(done))

    def _answer(self, done: int, left: int) -> str:
        if self.is_destructive:
            text = ngettext("%d event was discarded.", "%d events were discarded.", done) % done
        else:
            text = ngettext("%d event is sent again.", "%d events are sent again.", done) % done
        if left:
            text += " " + ngettext("%d was not set aside.", "%d were not set aside.", left) % left
        return text


SEND_AGAIN = SetAsideAction(
    name="send_again",
    title=gettext_lazy("Send again"),
    explanation=gettext_lazy(
        "The events get their places in the queue back. Do this when the cause is mended. Later events of the same "
        "keys may be in Kafka already. An event that is refused again is set aside again."
    ),
)
DISCARD = SetAsideAction(
    name="discard",
    title=gettext_lazy("Discard"),
    explanation=gettext_lazy("The events are deleted, and never sent to Kafka. This cannot be undone."),
    form=ReasonForm,
    is_destructive=True,
)
