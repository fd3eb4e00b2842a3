"""Finds what the site declares: imports ``events.py`` and ``handlers.py`` of every installed app."""

from collections.abc import Sequence

from django.utils.module_loading import autodiscover_modules

from django_events import handlers, topics
from django_events.exceptions import DeclarationError
from django_events.handlers import ConsumerGroup

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
