"""Finds what the site declares: imports ``events.py`` and ``handlers.py`` of every installed app."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from django.utils.module_loading import autodiscover_modules

from django_events import handlers, topics
from django_events.exceptions import DeclarationError
from django_events.handlers import ConsumerGroup, Handler
from django_events.presence.activity import digest

MODULES = ("events", "handlers")


def discover() -> None:
    """Import the modules in which apps declare topics and handlers. Idempotent. An error in one of them is raised."""
    autodiscover_modules(*MODULES)
    topics.all_are_declared()


def groups(names: Sequence[str], without: Sequence[str] = ()) -> list[ConsumerGroup]:
    """The groups of these names, or all that have handlers, but those ``without``. Raises DeclarationError for a name
    nobody declares."""
    known = {group.name: group for group in handlers.declared()}
    unknown = sorted({*names, *without} - known.keys())
    if unknown:
        declared = ", ".join(known) or "none"
        raise DeclarationError(f"No consumer group is named {', '.join(unknown)}. Declared groups: {declared}.")
    chosen = [known[name] for name in dict.fromkeys(names)] if names else list(known.values())
    return [group for group in chosen if group.handlers and group.name not in without]


def digests(groups: Iterable[ConsumerGroup]) -> dict[str, dict[str, str]]:
    """By group, its handlers, each with a digest of what it declares: two processes whose digests differ do not run the
    same code."""
    return {group.name: {handler.name: _digest(handler) for handler in group.handlers} for group in groups}


def _digest(handler: Handler) -> str:
    """Of all that was declared, but of no place in memory: it is the same in every process."""
    policy, topics_ = handler.policy, [*handler.sources]
    never = sorted(f"{kind.__module__}.{kind.__qualname__}" for kind in policy.never_retry)
    return digest((topics_, handler.delivery.value, replace(policy, never_retry=()), never, handler.calling))
