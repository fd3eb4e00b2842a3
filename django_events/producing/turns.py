"""The turns of one pass: rounds over the lanes that have rows, in two threads where many rows wait.

While one thread waits for Kafka or the database, the other goes on. Each has lanes and a sender of its own, as two
processes have.
"""

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass

from django.db import connections

from django_events.models import LaneName
from django_events.producing.lanes import WaitingLanes
from django_events.producing.sender import Sender
from django_events.stopping import Stop


@dataclass(slots=True)
class Pass:
    """What one pass over the lanes of one database did."""

    sent: int = 0
    busy: int = 0
    """Lanes with rows that are in the hands of another sender."""
    left: int = 0
    """Lanes with rows that nobody sends now: Kafka does not take them, or the pass was stopped."""
    why: str = ""
    """Why Kafka does not take them; empty if that is not the reason."""
    unanswered: str | None = None
    """What went wrong, if Kafka or the database did not answer."""
    is_outage: bool = False
    """Whether it was ended by a round of which Kafka took nothing, for a reason that is not about topics."""


class Turns:
    """The turns of some lanes in one pass. Owned by one thread at a time."""

    def __init__(self, lanes: Collection[LaneName], using: str, stop: Stop, until: float) -> None:
        """``until``: the moment (time.monotonic) after which they end, be lanes left; there is one round at least."""
        self.using = using
        self._stop = stop
        self._until = until
        self._waiting = WaitingLanes(lanes)
        self._has_ended = stop.is_set()
        self.done = Pass()
        self.sent_last = 0
        """Rows that the last round has sent."""

    @property
    def go_on(self) -> bool:
        """Whether another round has something to do."""
        return bool(self._waiting) and not self._has_ended

    def end(self) -> None:
        """No further round. Thread-safe."""
        self._has_ended = True

    @property
    def lanes_left(self) -> int:
        return len(self._waiting)

    def round(self, sender: Sender, lanes: int) -> None:
        """One round of so many lanes at most. Raises what ``Sender.round`` raises."""
        result = sender.round(self._waiting, self.using, lanes)
        if result is None:
            self._has_ended = True
            return
        self._waiting.remove(result.busy)
        self.sent_last = result.sent
        self.done.sent += result.sent
        self.done.busy += len(result.busy)
        self.done.unanswered = result.unanswered
        self.done.is_outage = result.is_outage
        if result.is_outage or self._stop.is_set() or time.monotonic() >= self._until:
            self._has_ended = True

    def give_half(self) -> "Turns":
        """Turns of their own for every second lane that is left."""
        half = self._waiting.first(len(self._waiting))[1::2]
        self._waiting.remove(half)
        return Turns(half, self.using, self._stop, self._until)

    def take_back(self, half: "Turns") -> None:
        """What came of that half, and the lanes that it has left."""
        self._waiting.add(half._waiting.first(half.lanes_left))
        self.done.sent += half.done.sent
        self.done.busy += half.done.busy
        self.done.unanswered = self.done.unanswered or half.done.unanswered
        self.done.is_outage = self.done.is_outage or half.done.is_outage
        if half.done.is_outage:
            self._has_ended = True


class Partner(threading.Thread):
    """Gives lanes their turns beside the thread that has the pass, with a database connection of its own."""

    def __init__(self, turns: Turns, sender: Sender, lanes: int) -> None:
        super().__init__(name="django-events-catchup-partner", daemon=True)
        self._turns = turns
        self._sender = sender
        self._lanes = lanes
        self.error: Exception | None = None
        """What has ended it early. The lanes of its last round wait again."""

    def run(self) -> None:
        try:
            while self._turns.go_on:
                self._turns.round(self._sender, self._lanes)
        except Exception as error:
            self.error = error
        finally:
            connections.close_all()
