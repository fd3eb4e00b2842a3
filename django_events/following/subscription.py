"""A subscription: a bounded queue of events for one reader in this process, who may be a thread or an event loop."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeAlias, TypeVar

from asgiref.sync import sync_to_async

from django_events.events import Event
from django_events.exceptions import DeclarationError, SubscriptionLost, SubscriptionOverflow
from django_events.producing.in_async import refuse_in_async

if TYPE_CHECKING:
    from django_events.following.hub import Hub

Payload = TypeVar("Payload")
By: TypeAlias = Callable[[Event[Payload]], Hashable]
Callback: TypeAlias = Callable[[Event[Payload]], object]

LIMIT = 100
"""Events that a subscription keeps for its reader, unless it says otherwise."""

LARGEST_LIMIT = 1_000_000
"""Events; above it the queue is no bound any more."""

TIMEOUT = 10.0
"""Seconds that ``with`` waits for Kafka to say where the topic ends."""


class WhenFull(Enum):
    """What happens to a subscription whose reader does not keep up. Nobody else waits for it."""

    DROP_OLDEST = "drop oldest"
    """The oldest event that waits is dropped: for those who want to know how things are now."""
    DROP_NEWEST = "drop newest"
    """The event that has come is dropped."""
    FAIL = "fail"
    """The subscription ends: its reader gets what waits, and then SubscriptionOverflow."""


class Subscription(Generic[Payload]):
    """Events of one topic, from ``with`` or ``open`` on. Made by ``Topic.subscribe``.

    Thread-safe, but one reader at a time gets each event. All subscribers are given the same Event: do not change its
    payload.

    It does not survive a fork: in the child it is closed, and whoever reads from it there gets SubscriptionLost.
    """

    def __init__(
        self,
        hub: "Hub",
        topic: str,
        *,
        key: Hashable = None,
        by: By[Any] | None = None,
        limit: int = LIMIT,
        when_full: WhenFull = WhenFull.DROP_OLDEST,
        callback: Callback[Any] | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        """Options as in ``Topic.subscribe``. Raises DeclarationError for what cannot be."""
        _check(topic, key, by, limit, when_full, callback, timeout)
        self.topic = topic
        self.key = key
        self.by = by
        self.callback = callback
        """These four are as they were given."""
        self.dropped = 0
        """Events that were dropped because the queue was full."""
        self.missed = False
        """Whether it may have missed events: because of the queue, or because Kafka had them no longer."""
        self._hub = hub
        self._limit = limit
        self._when_full = when_full
        self._timeout = timeout
        self._waiting: deque[Event[Any]] = deque()
        self._changed = threading.Condition()
        self._loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._is_open = False
        self._has_failed = False
        self._is_of_parent = False

    # ── begin and end ────────────────────────────────────────────────────────────────────────────────────────────

    def open(self) -> Self:
        """Subscribe: each event is got that is sent after this has returned. Blocks until Kafka has said where the
        topic ends, which it has for one that others subscribe to. Idempotent.

        Raises BrokerUnavailable if that takes too long, KafkaRefused for a topic that Kafka does not let us read,
        DeclarationError for settings that cannot be, and CalledInAsync in an event loop.
        """
        refuse_in_async("open()", "aopen()", or_else="use `async with`")
        return self._open()

    async def aopen(self) -> Self:
        """As ``open``, in an event loop."""
        return await sync_to_async(self._open, thread_sensitive=False)()

    def _open(self) -> Self:
        with self._changed:
            if self._is_open:
                return self
            self._is_open = True
            self._is_of_parent = False
        try:
            self._hub.enter(self, self._timeout)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Unsubscribe: nothing more is kept, what waits is forgotten, iterations end. Idempotent; does not block."""
        with self._changed:
            self._is_open = False
            self._waiting.clear()
        self._hub.leave(self)
        self._wake()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await self.aopen()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    # ── for its reader ───────────────────────────────────────────────────────────────────────────────────────────

    def get(self, timeout: float | None = None) -> Event[Payload] | None:
        """The next event; None if none comes within ``timeout`` seconds, or the subscription is closed. Blocks.

        Raises SubscriptionOverflow where the queue was full, with ``WhenFull.FAIL``, and SubscriptionLost in a child
        process of the one that has opened it.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while self._is_open and not self._waiting and not self._has_failed:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._changed.wait(left)
            return self._take()

    async def aget(self, timeout: float | None = None) -> Event[Payload] | None:
        """As ``get``, for an event loop."""
        waiter = (asyncio.get_running_loop(), asyncio.Event())
        with self._changed:
            self._loops.append(waiter)
        try:
            async with asyncio.timeout(timeout):
                while True:
                    with self._changed:
                        waiter[1].clear()
                        if not self._is_open or self._waiting or self._has_failed:
                            return self._take()
                    await waiter[1].wait()
        except TimeoutError:
            return None
        finally:
            with self._changed:
                self._loops.remove(waiter)

    def __iter__(self) -> Iterator[Event[Payload]]:
        """The events, until the subscription is closed."""
        while (event := self.get()) is not None:
            yield event

    async def __aiter__(self) -> AsyncIterator[Event[Payload]]:
        """The events, until the subscription is closed."""
        while (event := await self.aget()) is not None:
            yield event

    def _take(self) -> Event[Any] | None:
        if self._waiting:
            return self._waiting.popleft()
        if self._has_failed:
            raise SubscriptionOverflow(
                f"A subscription to topic {self.topic!r} had {self._limit:,} events waiting, and another came. Read "
                "faster, give it a larger limit=, or have it drop events with when_full=."
            )
        if self._is_of_parent:
            raise SubscriptionLost(
                f"A subscription to topic {self.topic!r} was opened before this process was forked. It goes on in the "
                "parent alone. Open another one here, with open() or `with`."
            )
        return None

    # ── for the hub ──────────────────────────────────────────────────────────────────────────────────────────────

    def add(self, event: Event[Any]) -> bool:
        """Keep the event for the reader; whether it is kept. Does not block."""
        with self._changed:
            if not self._is_open or self._has_failed:
                return False
            if len(self._waiting) >= self._limit:
                self.missed = True
                self._has_failed = self._when_full is WhenFull.FAIL
                self.dropped += 1
                if self._when_full is not WhenFull.DROP_OLDEST:
                    self._wake()
                    return False
                self._waiting.popleft()
            self._waiting.append(event)
            self._wake()
        return True

    def take_now(self) -> Event[Any] | None:
        """The next event if there is one. Does not block, never raises."""
        with self._changed:
            return self._waiting.popleft() if self._waiting else None

    def after_fork(self) -> None:
        """In a child process, where no reader gives it anything: it is closed. Whoever held its lock is not here."""
        self._changed = threading.Condition()
        self._waiting.clear()
        self._is_open = False
        self._is_of_parent = True

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
            for loop, awake in self._loops:
                with suppress(RuntimeError):  # it has been closed, with a reader in it: that concerns nobody else
                    loop.call_soon_threadsafe(awake.set)


def _check(
    topic: str, key: object, by: object, limit: object, when_full: object, callback: object, timeout: object
) -> None:
    where = f"A subscription to topic {topic!r}"
    if by is not None and not callable(by):
        raise DeclarationError(f"{where}: by is {by!r:.80}. Use a function from an event to its key.")
    if by is not None and key is None:
        raise DeclarationError(f"{where} has by= without a key=. Say which key it wants, or leave by= out for all.")
    if not isinstance(key, Hashable) or (by is None and not isinstance(key, str | None)):
        raise DeclarationError(f"{where}: key is {key!r:.80}. Use a text; with by= anything that can be a dict's key.")
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= LARGEST_LIMIT:
        raise DeclarationError(f"{where}: limit is {limit!r:.80}. Use a whole number from 1 to {LARGEST_LIMIT:,}.")
    if not isinstance(when_full, WhenFull):
        raise DeclarationError(
            f"{where}: when_full is {when_full!r:.80}. Use WhenFull.DROP_OLDEST, DROP_NEWEST or FAIL."
        )
    if callback is not None and not callable(callback):
        raise DeclarationError(f"{where}: callback is {callback!r:.80}. Use a function that gets an event.")
    if callback is not None and when_full is WhenFull.FAIL:
        raise DeclarationError(
            f"{where} has callback= and WhenFull.FAIL, but nobody who could hear of the failure. Use DROP_OLDEST or "
            "DROP_NEWEST, or leave callback= out."
        )
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise DeclarationError(f"{where}: timeout is {timeout!r:.80}. Use a number of seconds above 0.")
