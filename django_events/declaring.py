"""What each declared handler must be, a group's or one of broadcast events. Errors say what to write instead."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

from django_events.exceptions import DeclarationError
from django_events.topics import Topic

_LEGAL_HANDLER = re.compile(r"[A-Za-z0-9._-]{1,200}")


def check_topics(where: str, topics: tuple[Topic[Any], ...]) -> None:
    """Raise DeclarationError unless a handler can be declared for these; ``where`` names it."""
    wrong = [topic for topic in topics if not isinstance(topic, Topic)]
    if wrong or not topics:
        given = repr(wrong[0]) if wrong else "no topic"
        raise DeclarationError(f"{where} is declared for {given}; give it a Topic.")


def check_options(where: str, options: Mapping[str, object], kind: type) -> None:
    """Raise DeclarationError for an option that this kind of options does not have."""
    known = kind.__annotations__
    if unknown := sorted(set(options) - set(known)):
        raise DeclarationError(
            f"{where} is declared with {unknown[0]}=, which is no option. Use batch, {', '.join(known)}."
        )


def check_name(name: object, function: object, of: str) -> str:
    """The handler's name, or else its function's, if a handler may have it; raise DeclarationError if not."""
    name = name or getattr(function, "__name__", "")
    if not isinstance(name, str) or not _LEGAL_HANDLER.fullmatch(name):
        raise DeclarationError(
            f"The handler {function!r} {of} has the name {name!r}. "
            "Give it name= with 1 to 200 letters, digits, '.', '_' or '-'."
        )
    return name


def check_callable(function: object, of: str) -> None:
    """Raise DeclarationError unless a handler can be this."""
    if not callable(function):
        raise DeclarationError(f"A handler {of} is {function!r:.80}; decorate a function.")
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    if any(is_kind(function) for is_kind in kinds):
        raise DeclarationError(
            f"The handler {function!r} {of} is a coroutine or generator function, which nobody would "
            "run. Make it a plain function; call asyncio.run() or async_to_sync() in it."
        )
