"""Broadcast handlers: functions that every process which runs them calls with every event from its start on."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypedDict, TypeVar, Unpack, overload

from django_events import calling
from django_events.calling import Batch
from django_events.declaring import check_callable, check_name, check_options, check_topics
from django_events.exceptions import DeclarationError
from django_events.failures import OnFailure, failure_policy
from django_events.following.gap import Gap
from django_events.handlers import BatchDecorator, Decorator, Delivery, Function, Handler
from django_events.topics import Topic

A = TypeVar("A")
B = TypeVar("B")
OnGap: TypeAlias = Callable[[Gap], object]

TIMEOUT = 30.0
"""Seconds for which a broadcast handler that fails is tried again, unless it says otherwise."""

OF = "of broadcast events"


class BroadcastOptions(TypedDict, total=False):
    """What ``broadcast`` takes beside topics and ``batch``. All may be left out."""

    name: str | None
    """The handler's name in the log and for ``broadcast_latency``; by default the function's. Unique in the site."""
    timeout: float
    """For how many seconds after the first failure it is tried again, 1 to 30 s apart; then it does without the event.
    Default: 30, because a late word is worth little where every process hears the next. Tries that cannot take place,
    as while the database is away, do not count."""
    on_gap: OnGap | None
    """Called with a Gap when Kafka had something no longer that was to be read, as after a long outage: a cache must be
    emptied then. It is tried until it returns. Default: a warning in the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BroadcastHandler:
    """A declared broadcast handler. Immutable."""

    handler: Handler
    """The function, and how it is called."""
    on_gap: OnGap | None = None
    """What is called when events may have been missed."""

    @property
    def name(self) -> str:
        return self.handler.name

    def __str__(self) -> str:
        return str(self.handler)


@overload
def broadcast(topic: Topic[A], /, *, batch: Batch, **options: Unpack[BroadcastOptions]) -> BatchDecorator[A]: ...
@overload
def broadcast(
    topic: Topic[A], second: Topic[B], /, *, batch: Batch, **options: Unpack[BroadcastOptions]
) -> BatchDecorator[A | B]: ...
@overload
def broadcast(*topics: Topic[Any], batch: Batch, **options: Unpack[BroadcastOptions]) -> BatchDecorator[Any]: ...
@overload
def broadcast(topic: Topic[A], /, **options: Unpack[BroadcastOptions]) -> Decorator[A]: ...
@overload
def broadcast(topic: Topic[A], second: Topic[B], /, **options: Unpack[BroadcastOptions]) -> Decorator[A | B]: ...
@overload
def broadcast(*topics: Topic[Any], **options: Unpack[BroadcastOptions]) -> Decorator[Any]: ...
def broadcast(
    *topics: Topic[Any], batch: Batch | None = None, **options: Unpack[BroadcastOptions]
) -> Callable[[Any], Any]:
    """Declare a handler that is called in every process which runs it, for every event that is sent after the process
    has said that it has started; for some perhaps twice. Declare it in ``handlers.py`` of an app.

    It runs without a transaction of ours. Events of one key come one after the other, in order. With ``batch`` it gets
    a list of events. ``BroadcastOptions`` has the other options. The function stays as it is. Not thread-safe.
    Raises DeclarationError.
    """
    where = f"A handler {OF}"
    check_topics(where, topics)
    check_options(where, options, BroadcastOptions)
    on_gap, timeout = options.get("on_gap"), options.get("timeout")
    if on_gap is not None:
        check_callable(on_gap, OF)
    policy = failure_policy(
        where,
        on_failure=OnFailure.DISCARD,
        retry=True,
        timeout=TIMEOUT if timeout is None else timeout,
        never_retry=(),
    )
    how = calling.calling(where, batch=batch, concurrency=None, ordered=True, shared_transaction=None, using=None)

    def declare(function: Function[Any]) -> Function[Any]:
        check_callable(function, OF)
        name = _free_name(check_name(options.get("name"), function, OF), function)
        handler = Handler(
            name=name,
            group="",
            function=function,
            topics=tuple(dict.fromkeys(topics)),
            delivery=Delivery.BROADCAST,
            policy=policy,
            calling=how,
        )
        _declared[name] = BroadcastHandler(handler=handler, on_gap=on_gap)
        return function

    return declare


def _free_name(name: str, function: object) -> str:
    if name in _declared:
        raise DeclarationError(
            f"Two handlers of broadcast events are named {name!r}: {_declared[name].handler.function!r} and "
            f"{function!r}. Give one of them another name=."
        )
    return name


_declared: dict[str, BroadcastHandler] = {}


def declared() -> list[BroadcastHandler]:
    """All broadcast handlers that this process declares, by name."""
    return [_declared[name] for name in sorted(_declared)]


def chosen(wanted: Iterable[BroadcastHandler | Function[Any]]) -> list[BroadcastHandler]:
    """These broadcast handlers, where the functions that were declared stand for all that were declared of them.

    Raises DeclarationError for what is none.
    """
    found: dict[str, BroadcastHandler] = {}
    for each in wanted:
        meant = [each] if isinstance(each, BroadcastHandler) else _of_function(each)
        if not meant:
            raise DeclarationError(
                f"{each!r:.80} is no broadcast handler. Name functions that are declared with @broadcast."
            )
        found |= {handler.name: handler for handler in meant}
    return [*found.values()]


def _of_function(function: object) -> list[BroadcastHandler]:
    return [each for each in declared() if each.handler.function is function]
