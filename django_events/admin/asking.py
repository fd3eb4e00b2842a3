"""What a person is asked before an action is done."""

from django import forms
from django.utils.translation import gettext_lazy

LONGEST_REASON = 1_000
"""Characters."""


class NoQuestions(forms.Form):
    """Asks nothing but whether one is sure."""


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=LONGEST_REASON,
        widget=forms.Textarea(attrs={"rows": 3, "cols": 60, "autofocus": True}),
        help_text=gettext_lazy("For those who ask later why the events were given up. It is kept."),
    )
