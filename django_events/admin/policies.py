"""What a handler has declared about its failures, for people."""

from datetime import timedelta

from django.utils.translation import gettext as _

from django_events.admin.texts import span
from django_events.failures import FailurePolicy, OnFailure
from django_events.handlers import Delivery, Handler
from django_events.retry import Backoff


def policy_in_words(handler: Handler) -> list[tuple[str, str]]:
    """Names and values, in the order in which they matter to an event that fails."""
    policy = handler.policy
    rows = [
        (_("Promise"), _delivery(handler.delivery)),
        (_("At first"), _("tried again %(apart)s, %(end)s") % {"apart": _apart(policy.backoff), "end": _end(policy)}),
        (_("After that"), _what_follows(policy)),
    ]
    if policy.never_retry:
        rows.append((_("Never tried again after"), ", ".join(kind.__qualname__ for kind in policy.never_retry)))
    return rows


def _delivery(delivery: Delivery) -> str:
    if delivery is Delivery.EXACTLY_ONCE:
        return _("exactly once: its effects in the database happen once for each event")
    return _("at least once: it may be called again with an event that it has handled")


def _what_follows(policy: FailurePolicy) -> str:
    if policy.on_failure is OnFailure.RETRY_LATER:
        return _("a dead letter that is tried by itself, %s") % _apart(policy.later)
    if policy.on_failure is OnFailure.SAVE:
        return _("a dead letter that waits until somebody says so")
    if policy.on_failure is OnFailure.BLOCK:
        return _("tried for ever, while its key waits")
    return _("given up")


def _end(policy: FailurePolicy) -> str:
    if policy.attempts is not None:
        return _("up to %d tries in all") % policy.attempts
    return _("for %s") % span(timedelta(seconds=policy.timeout)) if policy.timeout else _("for ever")


def _apart(backoff: Backoff) -> str:
    first, last = (span(timedelta(seconds=seconds)) for seconds in (backoff.first, backoff.max))
    return _("%(first)s to %(last)s apart") % {"first": first, "last": last}
