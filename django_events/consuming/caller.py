"""How the function of a handler is called: noted as running, inside of what the site puts around it, and timed."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from typing import Any

from django_events import crash_points, signals
from django_events.consuming.around import around, is_surrounded
from django_events.consuming.calls import Call
from django_events.consuming.sharing import Sharing
from django_events.events import Event
from django_events.handlers import Handler


class Caller:
    """Calls the function of one handler. Made anew for each unit, so that it hears of changed settings."""

    __slots__ = ("_is_surrounded", "_sharing", "handler", "seconds")

    def __init__(self, handler: Handler, sharing: Sharing | None = None) -> None:
        """``sharing`` is told how many seconds each call has taken, also one that raised."""
        self.handler = handler
        self.seconds: list[float] = []
        """How long each call has taken, also those that raised."""
        self._sharing = sharing
        self._is_surrounded = is_surrounded()

    def call(self, events: Sequence[Event[Any]]) -> float:
        """Call it: with a batch once, otherwise with one event after the other. Returns how many seconds that took;
        raises what the function raises, and TypeError if it returns what somebody would have to run."""
        with Call(self.handler, events) as call:
            try:
                if self._is_surrounded:
                    with around(events):
                        self._call_with(events)
                else:
                    self._call_with(events)
            finally:
                seconds = time.monotonic() - call.began
                self.seconds.append(seconds)
                if self._sharing:
                    self._sharing.called(seconds)
        if crash_points.armed:
            crash_points.reached("handler-returned")
        return seconds

    def _call_with(self, events: Sequence[Event[Any]]) -> None:
        function: Callable[..., object] = self.handler.function
        for given in [list(events)] if self.handler.calling.batch else events:
            result = function(given)
            if result is not None:
                self._check_result(result)

    def _check_result(self, result: object) -> None:
        if isinstance(result, Awaitable | Generator | AsyncGenerator):
            raise TypeError(
                f"Handler {self.handler} returned {result!r:.80}, which nobody runs. Make it a plain function."
            )


def tell_handled(handler: Handler, handled: Sequence[Event[Any]], seconds: Sequence[float]) -> None:
    """Let the site know what has taken effect, and how long each call took: one for each event, or one for all."""
    if not signals.event_handled.receivers:
        return
    each_took = seconds if len(seconds) == len(handled) else [*seconds] * len(handled)
    for event, each in zip(handled, each_took, strict=False):
        signals.tell(signals.event_handled, handler.function, event=event, seconds=each)
