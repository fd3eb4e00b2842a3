"""Handlers and consumer groups: who handles the events of which topics, and with which promise."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar, Unpack, overload

from django_events import calling, tables
from django_events.calling import Batch, Calling
from django_events.declaring import check_callable, check_name, check_options, check_topics
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
BatchFunction: TypeAlias = Callable[[list[Event[A]]], None]
BatchDecorator: TypeAlias = Callable[[BatchFunction[A]], BatchFunction[A]]
Start: TypeAlias = Literal["earliest", "latest"] | datetime


class Delivery(Enum):
    """What a handler was promised."""

    EXACTLY_ONCE = "exactly once"
    """Its effects in the database happen once for each event: they are committed together with a mark."""
    IDEMPOTENT = "at least once"
    """It is called once or more for each event."""
    BROADCAST = "every process"
    """It is called in every process that runs it, for each event from the process's start on."""


class HandlerOptions(TypedDict, total=False):
    """What a handler's decorator takes beside its topics. All may be left out."""

    name: str | None
    """The handler's name; by default the function's. It is part of what makes exactly-once."""
    on_failure: OnFailure
    """What follows when a handler has failed for good. Default: RETRY_LATER: it loses nothing and holds up nobody.
    Without tables: BLOCK."""
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
    concurrency: int | None
    """How many events it handles at once in one process, over all its topics. Default: as many as its group has
    workers. With a batch say ``Batch(parallel=…)``."""
    ordered: bool
    """Whether the events of one key are handled one after the other, in order. Default: True. False: all run as workers
    are free."""
    shared_transaction: bool
    """Exactly-once only: whether up to 50 events share a transaction while many wait, which makes it several times
    faster. Default: True. Say False if it uses SET LOCAL, or needs a transaction to itself."""
    using: str
    """Exactly-once only: the database of its transaction, where the tables of django_events are migrated. Default: the
    one that the router has for the marks."""
    dead_letters_of: "ConsumerGroup | str"
    """It handles the dead letters that this group has of the topics, instead of their events. Only BLOCK and DISCARD
    are possible. Default: the events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """A function of the user's, and how it is to be called. Immutable."""

    name: str
    """Unique in its group; part of what makes exactly-once: renaming a handler makes it a new one."""
    group: str
    """The name of its consumer group, without prefix; empty if it is a broadcast handler, which has none."""
    function: Function[Any]
    """The user's function; it stays callable by itself."""
    topics: tuple[Topic[Any], ...]
    """The topics whose events it handles."""
    delivery: Delivery
    """What it was promised."""
    policy: FailurePolicy = FailurePolicy()
    """What follows when it fails."""
    calling: Calling = Calling()
    """How it is called."""
    dead_letters_of: str | None = None
    """The group whose dead letters of the topics it handles, instead of their events."""
    sources: dict[str, Topic[Any]] = field(init=False, repr=False, compare=False)
    """The topics that it reads in Kafka, by name: those it handles, or those of their dead letters."""

    def __post_init__(self) -> None:
        of = self.dead_letters_of
        sources = {names.dead_letter_topic(topic.name, of) if of else topic.name: topic for topic in self.topics}
        object.__setattr__(self, "sources", sources)

    def topic(self, source: str) -> Topic[Any]:
        """The topic whose events are in this topic of Kafka: itself, or the one that its dead letters come from."""
        return self.sources[source]

    @property
    def shares_transactions(self) -> bool:
        """Whether several of its events may share a transaction."""
        is_possible = self.delivery is Delivery.EXACTLY_ONCE and self.calling.batch is None
        return is_possible and self.calling.shared_transaction is not False

    def require_tables(self) -> None:
        """Raise SettingsError if it needs our tables and the site has none."""
        if self.delivery is Delivery.EXACTLY_ONCE:
            tables.require(f"Handler {self} is exactly_once, which", "or declare it as idempotent")
        if self.policy.on_failure is OnFailure.RETRY_LATER:
            tables.require(
                f"Handler {self} has on_failure=OnFailure.RETRY_LATER, which",
                "or say BLOCK (the default without tables), SAVE, or DISCARD",
            )

    def __str__(self) -> str:
        return f"{self.group or 'broadcast'}/{self.name}"


class ConsumerGroup:
    """A named set of handlers that follow their topics together: each event is handled once in the whole group,
    whichever processes run it. Declare it in ``handlers.py`` of an app. Declaring is not thread-safe."""

    def __init__(
        self,
        name: str,
        *,
        workers: int = 8,
        max_outstanding: int = 1_000,
        max_outstanding_in_all: int = 10_000,
        start: Start = "earliest",
    ) -> None:
        """Raises DeclarationError for an illegal name, one that is taken, or an option that cannot be.

        ``name`` is without prefix.
        ``workers``: threads that run handlers in one process, each with a database connection of its own.
        ``max_outstanding``: events of one partition that its offset has not passed, because they or earlier ones are
        not done with; above, nothing more of that partition is fetched. ``max_outstanding_in_all``: those of the group
        in one process that do not wait for a retry, each counted once for every handler that wants it; above, nothing
        more is fetched at all.
        ``start``: where the group begins in partitions in which it has no offset yet: with the oldest event, with what
        is sent from now on, or with what Kafka got at that time (a datetime with time zone).
        """
        self.name = names.check_group(name)
        where = f"Group {self.name!r}"
        self.workers = calling.check_whole(where, "workers", workers, 1, 1_000)
        self.max_outstanding = calling.check_whole(where, "max_outstanding", max_outstanding, 1, 1_000_000)
        self.max_outstanding_in_all = calling.check_whole(
            where, "max_outstanding_in_all", max_outstanding_in_all, 1, 10_000_000
        )
        self.start = _check_start(where, start)
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
        """The names of all topics whose events the group's handlers want; those of dead letters are in ``sources``."""
        direct = [handler for handler in self.handlers if handler.dead_letters_of is None]
        return tuple(sorted({topic.name for handler in direct for topic in handler.topics}))

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of all topics that the group reads in Kafka: with those of other groups' dead letters."""
        return tuple(sorted({source for handler in self.handlers for source in handler.sources}))

    @property
    def dead_letter_sources(self) -> tuple[str, ...]:
        """The names of the topics whose events can become dead letters of this group."""
        keepers = [handler for handler in self.handlers if handler.policy.on_failure.writes_dead_letters]
        return tuple(sorted({topic.name for handler in keepers for topic in handler.topics}))

    @property
    def contradictions(self) -> Iterator[tuple[Handler, str]]:
        """What its handlers' options, with its own, say that cannot both be meant, each with what to do."""
        for handler in self.handlers:
            for text in calling.contradictions(
                handler.calling,
                has_transaction=handler.delivery is Delivery.EXACTLY_ONCE,
                max_outstanding=self.max_outstanding,
                max_outstanding_in_all=self.max_outstanding_in_all,
            ):
                yield handler, text

    def handlers_of(self, source: str) -> list[Handler]:
        """The handlers that want the events in this topic of Kafka."""
        return [handler for handler in self.handlers if source in handler.sources]

    def foreign_letters(self) -> Iterator[tuple[str, list[str]]]:
        """The groups whose dead letters this group handles, and of which topics."""
        for handler in self.handlers:
            if handler.dead_letters_of is not None:
                yield handler.dead_letters_of, [topic.name for topic in handler.topics]

    @overload
    def exactly_once(
        self, topic: Topic[A], /, *, batch: Batch, **options: Unpack[HandlerOptions]
    ) -> BatchDecorator[A]: ...
    @overload
    def exactly_once(
        self, topic: Topic[A], second: Topic[B], /, *, batch: Batch, **options: Unpack[HandlerOptions]
    ) -> BatchDecorator[A | B]: ...
    @overload
    def exactly_once(
        self, *topics: Topic[Any], batch: Batch, **options: Unpack[HandlerOptions]
    ) -> BatchDecorator[Any]: ...
    @overload
    def exactly_once(self, topic: Topic[A], /, **options: Unpack[HandlerOptions]) -> Decorator[A]: ...
    @overload
    def exactly_once(
        self, topic: Topic[A], second: Topic[B], /, **options: Unpack[HandlerOptions]
    ) -> Decorator[A | B]: ...
    @overload
    def exactly_once(self, *topics: Topic[Any], **options: Unpack[HandlerOptions]) -> Decorator[Any]: ...
    def exactly_once(
        self, *topics: Topic[Any], batch: Batch | None = None, **options: Unpack[HandlerOptions]
    ) -> Callable[[Any], Any]:
        """Declare a handler whose database effects happen once for each event, whatever is redelivered or killed.

        It runs in a transaction that also holds the mark that the event is processed. With ``batch`` it gets a list of
        events, all of them in one transaction. ``HandlerOptions`` has the other options. The function stays as it is.
        Raises DeclarationError.
        """
        return self._decorator(topics, batch, options, Delivery.EXACTLY_ONCE)

    @overload
    def idempotent(
        self, topic: Topic[A], /, *, batch: Batch, **options: Unpack[HandlerOptions]
    ) -> BatchDecorator[A]: ...
    @overload
    def idempotent(
        self, topic: Topic[A], second: Topic[B], /, *, batch: Batch, **options: Unpack[HandlerOptions]
    ) -> BatchDecorator[A | B]: ...
    @overload
    def idempotent(
        self, *topics: Topic[Any], batch: Batch, **options: Unpack[HandlerOptions]
    ) -> BatchDecorator[Any]: ...
    @overload
    def idempotent(self, topic: Topic[A], /, **options: Unpack[HandlerOptions]) -> Decorator[A]: ...
    @overload
    def idempotent(
        self, topic: Topic[A], second: Topic[B], /, **options: Unpack[HandlerOptions]
    ) -> Decorator[A | B]: ...
    @overload
    def idempotent(self, *topics: Topic[Any], **options: Unpack[HandlerOptions]) -> Decorator[Any]: ...
    def idempotent(
        self, *topics: Topic[Any], batch: Batch | None = None, **options: Unpack[HandlerOptions]
    ) -> Callable[[Any], Any]:
        """Declare a handler that is called at least once for each event and must bear being called again.

        It runs without a transaction of ours. Options and errors as in ``exactly_once``.
        """
        return self._decorator(topics, batch, options, Delivery.IDEMPOTENT)

    def _decorator(
        self, topics: tuple[Topic[Any], ...], batch: Batch | None, options: HandlerOptions, delivery: Delivery
    ) -> Decorator[Any]:
        of = f"of group {self.name!r}"
        check_topics(f"A handler {of}", topics)
        check_options(f"A handler {of}", options, HandlerOptions)

        def declare(function: Function[Any]) -> Function[Any]:
            check_callable(function, of)
            handler_name = self._free_name(check_name(options.get("name"), function, of), function)
            where = f"Handler {self.name}/{handler_name}"
            letters_of = _letters_of(where, options)
            self._handlers[handler_name] = Handler(
                name=handler_name,
                group=self.name,
                function=function,
                topics=tuple(dict.fromkeys(topics)),
                delivery=delivery,
                policy=_policy(where, options, letters_of),
                calling=_calling(where, options, batch),
                dead_letters_of=letters_of,
            )
            return function

        return declare

    def _free_name(self, name: str, function: object) -> str:
        if name in self._handlers:
            raise DeclarationError(
                f"Group {self.name!r} has two handlers named {name!r}: {self._handlers[name].function!r} and "
                f"{function!r}. Give one of them another name=."
            )
        return name


def _policy(where: str, options: HandlerOptions, letters_of: str | None) -> FailurePolicy:
    return failure_policy(
        where,
        on_failure=options.get("on_failure", _otherwise(letters_of)),
        retry=options.get("retry", True),
        timeout=options.get("timeout"),
        never_retry=options.get("never_retry", ()),
        later=options.get("retry_later"),
    )


def _calling(where: str, options: HandlerOptions, batch: Batch | None) -> Calling:
    return calling.calling(
        where,
        batch=batch,
        concurrency=options.get("concurrency"),
        ordered=options.get("ordered", True),
        shared_transaction=options.get("shared_transaction"),
        using=options.get("using"),
    )


def _otherwise(letters_of: str | None) -> OnFailure:
    """What follows a failure where the handler does not say."""
    return OnFailure.BLOCK if letters_of or tables.there_are_none() else OnFailure.RETRY_LATER


def _letters_of(where: str, options: HandlerOptions) -> str | None:
    """The name of the group whose dead letters are wanted."""
    given: Any = options.get("dead_letters_of")
    if given is None:
        return None
    name = given.name if isinstance(given, ConsumerGroup) else given
    if not isinstance(name, str):
        raise DeclarationError(f"{where}: dead_letters_of is {given!r:.80}. Use a ConsumerGroup or its name.")
    if options.get("on_failure", OnFailure.BLOCK).writes_dead_letters:
        raise DeclarationError(
            f"{where}: with dead_letters_of a failure cannot make another dead letter. Use on_failure=OnFailure.BLOCK, "
            "which is the default there, or OnFailure.DISCARD."
        )
    return names.check_group(name)


def _check_start(where: str, start: Any) -> Start:
    if isinstance(start, datetime) and start.tzinfo is not None:
        return start
    if start == "earliest":
        return "earliest"
    if start == "latest":
        return "latest"
    raise DeclarationError(f"{where}: start is {start!r:.80}. Use 'earliest', 'latest' or a datetime with time zone.")


_groups: dict[str, ConsumerGroup] = {}


def declared() -> list[ConsumerGroup]:
    """All consumer groups that this process declares, by name."""
    return [_groups[name] for name in sorted(_groups)]
