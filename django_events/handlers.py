"""Handlers and consumer groups: who handles the events of which topics, and with which promise."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias, TypedDict, TypeVar, Unpack, overload

from django_events.events import Event
from django_events.exceptions import DeclarationError
from django_events.failures import FailurePolicy, OnFailure, failure_policy
from django_events.kafka import names
from django_events.retry import Backoff
from django_events.topics import Topic

A = TypeVar("A")
B = TypeVar("B")
Function: TypeAlias = Callable[[Event[A]], None]
Decorator: TypeAlias = Callable[[Function[A]], Function[A]]

_LEGAL_HANDLER = re.compile(r"[A-Za-z0-9._-]{1,200}")


class Delivery(Enum):
    """What a handler was promised."""

    EXACTLY_ONCE = "exactly once"
    """Its effects in the database happen once for each event: they are committed together with a mark."""
    IDEMPOTENT = "at least once"
    """It is called once or more for each event."""


class HandlerOptions(TypedDict, total=False):
    """What a handler's decorator takes beside its topics. All may be left out."""

    name: str | None
    """The handler's name; by default the function's. It is part of what makes exactly-once."""
    on_failure: OnFailure
    """What follows when a handler has failed for good. Default: RETRY_LATER: it loses nothing and holds up nobody."""
    retry: Backoff | int | bool
    """How it is tried again before that: a Backoff says how far the tries are apart, a number how many tries there are
    in all, False that there is only one. Default: a Backoff of 1 s doubling to 30 s, give or take 5 %."""
    timeout: float | None
    """For how many seconds after the first failure it is tried again. Default: 300; no limit if ``retry`` is a number.
    Tries that cannot take place, as while the database is away, do not count."""
    never_retry: tuple[type[BaseException], ...] | type[BaseException]
    """Exceptions after which it is not tried again, as if it had raised DoNotRetry. Default: none."""
    retry_later: Backoff
    """How far the tries of a dead letter are apart, with RETRY_LATER. Default: 30 s doubling to 30 min."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """A function of the user's, and how it is to be called. Immutable."""

    name: str
    """Unique in its group; part of what makes exactly-once: renaming a handler makes it a new one."""
    group: str
    """The name of its consumer group, without prefix."""
    function: Function[Any]
    """The user's function; it stays callable by itself."""
    topics: tuple[Topic[Any], ...]
    """The topics whose events it handles."""
    delivery: Delivery
    """What it was promised."""
    policy: FailurePolicy = FailurePolicy()
    """What follows when it fails."""

    def topic(self, name: str) -> Topic[Any]:
        """The topic of this name among those it handles."""
        return next(topic for topic in self.topics if topic.name == name)

    def __str__(self) -> str:
        return f"{self.group}/{self.name}"


class ConsumerGroup:
    """A named set of handlers that follow their topics together: each event is handled once in the whole group,
    whichever processes run it. Declare it in ``handlers.py`` of an app. Declaring is not thread-safe."""

    def __init__(self, name: str) -> None:
        """``name`` is without prefix. Raises DeclarationError for an illegal name, or one that is taken."""
        self.name = names.check_group(name)
        self._handlers: dict[str, Handler] = {}
        if self.name in _groups:
            raise DeclarationError(
                f"The consumer group {self.name!r} is declared twice. Declare it once and import it from there."
            )
        _groups[self.name] = self

    def __repr__(self) -> str:
        return f"ConsumerGroup({self.name!r})"

    @property
    def handlers(self) -> tuple[Handler, ...]:
        """The group's handlers, in the order in which they were declared."""
        return tuple(self._handlers.values())

    @property
    def topics(self) -> tuple[str, ...]:
        """The names of all topics that the group's handlers want."""
        return tuple(sorted({topic.name for handler in self.handlers for topic in handler.topics}))

    @property
    def dead_letter_sources(self) -> tuple[str, ...]:
        """The names of the topics whose events can become dead letters of this group."""
        keepers = [handler for handler in self.handlers if handler.policy.on_failure.writes_dead_letters]
        return tuple(sorted({topic.name for handler in keepers for topic in handler.topics}))

    def handlers_of(self, topic: str) -> list[Handler]:
        """The handlers that want events of this topic."""
        return [handler for handler in self.handlers if any(each.name == topic for each in handler.topics)]

    @overload
    def exactly_once(self, topic: Topic[A], /, **options: Unpack[HandlerOptions]) -> Decorator[A]: ...
    @overload
    def exactly_once(
        self, topic: Topic[A], second: Topic[B], /, **options: Unpack[HandlerOptions]
    ) -> Decorator[A | B]: ...
    @overload
    def exactly_once(self, *topics: Topic[Any], **options: Unpack[HandlerOptions]) -> Decorator[Any]: ...
    def exactly_once(self, *topics: Topic[Any], **options: Unpack[HandlerOptions]) -> Decorator[Any]:
        """Declare a handler whose database effects happen once for each event, whatever is redelivered or killed.

        It runs in a transaction that also holds the mark that the event is processed. ``HandlerOptions`` has the
        options. The function stays as it is. Raises DeclarationError.
        """
        return self._decorator(topics, options, Delivery.EXACTLY_ONCE)

    @overload
    def idempotent(self, topic: Topic[A], /, **options: Unpack[HandlerOptions]) -> Decorator[A]: ...
    @overload
    def idempotent(
        self, topic: Topic[A], second: Topic[B], /, **options: Unpack[HandlerOptions]
    ) -> Decorator[A | B]: ...
    @overload
    def idempotent(self, *topics: Topic[Any], **options: Unpack[HandlerOptions]) -> Decorator[Any]: ...
    def idempotent(self, *topics: Topic[Any], **options: Unpack[HandlerOptions]) -> Decorator[Any]:
        """Declare a handler that is called at least once for each event and must bear being called again.

        It runs without a transaction of ours. Options and errors as in ``exactly_once``.
        """
        return self._decorator(topics, options, Delivery.IDEMPOTENT)

    def _decorator(self, topics: tuple[Topic[Any], ...], options: HandlerOptions, delivery: Delivery) -> Decorator[Any]:
        self._check_topics(topics)
        self._check_names(options)
        policy = failure_policy(
            f"A handler of group {self.name!r}",
            on_failure=options.get("on_failure", OnFailure.RETRY_LATER),
            retry=options.get("retry", True),
            timeout=options.get("timeout"),
            never_retry=options.get("never_retry", ()),
            later=options.get("retry_later"),
        )

        def declare(function: Function[Any]) -> Function[Any]:
            _check_callable(function, self.name)
            handler_name = self._free_name(options.get("name") or getattr(function, "__name__", ""), function)
            self._handlers[handler_name] = Handler(
                name=handler_name,
                group=self.name,
                function=function,
                topics=tuple(dict.fromkeys(topics)),
                delivery=delivery,
                policy=policy,
            )
            return function

        return declare

    def _check_topics(self, topics: tuple[Topic[Any], ...]) -> None:
        wrong = [topic for topic in topics if not isinstance(topic, Topic)]
        if wrong or not topics:
            given = repr(wrong[0]) if wrong else "no topic"
            raise DeclarationError(f"A handler of group {self.name!r} is declared for {given}; give it a Topic.")

    def _check_names(self, options: HandlerOptions) -> None:
        known = HandlerOptions.__annotations__
        if unknown := sorted(set(options) - set(known)):
            raise DeclarationError(
                f"A handler of group {self.name!r} is declared with {unknown[0]}=, which is no option. "
                f"Use {', '.join(known)}."
            )

    def _free_name(self, name: Any, function: object) -> str:
        if not isinstance(name, str) or not _LEGAL_HANDLER.fullmatch(name):
            raise DeclarationError(
                f"The handler {function!r} of group {self.name!r} has the name {name!r}. "
                "Give it name= with 1 to 200 letters, digits, '.', '_' or '-'."
            )
        if name in self._handlers:
            raise DeclarationError(
                f"Group {self.name!r} has two handlers named {name!r}: {self._handlers[name].function!r} and "
                f"{function!r}. Give one of them another name=."
            )
        return name


def _check_callable(function: object, group: str) -> None:
    if not callable(function):
        raise DeclarationError(f"A handler of group {group!r} is {function!r:.80}; decorate a function.")
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    if any(is_kind(function) for is_kind in kinds):
        raise DeclarationError(
            f"The handler {function!r} of group {group!r} is a coroutine or generator function, which nobody would "
            "run. Make it a plain function; call asyncio.run() or async_to_sync() in it."
        )


_groups: dict[str, ConsumerGroup] = {}


def declared() -> list[ConsumerGroup]:
    """All consumer groups that this process declares, by name."""
    return [_groups[name] for name in sorted(_groups)]
