"""The site's own context managers around each call of a handler: a tenant, a language, a scope of an error tracker."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import lru_cache
from typing import Any, TypeAlias

from django.utils.module_loading import import_string

from django_events.conf import is_given, settings
from django_events.events import Event

Surround: TypeAlias = Callable[[Sequence[Event[Any]]], AbstractContextManager[object]]


def is_surrounded() -> bool:
    """Whether the site has set AROUND_HANDLERS."""
    return is_given("AROUND_HANDLERS")


@contextmanager
def around(events: Sequence[Event[Any]]) -> Iterator[None]:
    """Run the call inside the context managers of the setting AROUND_HANDLERS, the first outermost.

    What one of them raises is a failure of the handler. None can make a failure a success: what the handler raised is
    raised again, also if one of them swallows it.
    """
    raised: BaseException | None = None
    with ExitStack() as stack:
        for surround in surrounds(tuple(settings.AROUND_HANDLERS)):
            stack.enter_context(surround(events))
        try:
            yield
        except BaseException as error:
            raised = error
            raise
    if raised is not None:
        raise raised


@lru_cache(maxsize=8)
def surrounds(paths: tuple[str, ...]) -> list[Surround]:
    """What these dotted paths name. Raises ImportError for what does not exist."""
    return [import_string(path) for path in paths]
