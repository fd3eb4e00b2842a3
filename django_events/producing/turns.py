"""The turns of one pass: rounds over the lanes that have rows, in two threads where many rows wait.

While one thread waits for Kafka or the database, the other goes on. Each has lanes and a sender of its own, as two
processes have.
"""

import queue
import threading
import time
from collections.abc import Collection
from contextlib import suppress
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
    """The turns of some lanes in one pass. Owned by one thread at a time, but for ``end``."""

    def __init__(self, lanes: Collection[LaneName], using: str, stop: Stop, until: float) -> None:
        """``until``: the moment (time.monotonic) after which they end, be lanes left; there is one round at least."""
        self.using = using
        self._stop = stop
        self._until = until
        self._waiting = WaitingLanes(lanes)
        self._has_ended = stop.is_set()
        self._all_are_held = False
        self.done = Pass()
        self.sent_last = 0
        """Rows that the last round has sent."""

    @property
    def go_on(self) -> bool:
        """Whether another round has something to do."""
        return bool(self._waiting) and not (self._has_ended or self._all_are_held)

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
            self._all_are_held = True
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
        """What came of that half, and the lanes that it has left: why they are left shows when they are tried."""
        self._waiting.add(half._waiting.first(half.lanes_left))
        self._all_are_held = self._all_are_held and not half.lanes_left
        self.done.sent += half.done.sent
        self.done.busy += half.done.busy


class Partner(threading.Thread):
    """The second thread: connects to the database and to Kafka, then gives those lanes their turns that it is given.
    Owned by the first thread. It ends when it is told to, or when something fails."""

    def __init__(self, sender: Sender, using: str, lanes: int) -> None:
        """``lanes``: how many a round has at most."""
        super().__init__(name="django-events-catchup-partner", daemon=True)
        self.using = using
        self.is_ready = False
        """Whether it has connected, and waits for lanes."""
        self.error: Exception | None = None
        """What has ended it."""
        self._sender = sender
        self._lanes = lanes
        self._given: queue.SimpleQueue[Turns | None] = queue.SimpleQueue()
        self._returned: queue.SimpleQueue[None] = queue.SimpleQueue()

    def give(self, turns: Turns) -> None:
        """Have these lanes get their turns. Only when it is ready, and once until ``wait``."""
        self._given.put(turns)

    def wait(self) -> None:
        """Return when the turns that it was given are over, or it has ended: then what it had in hand waits again."""
        self._returned.get()

    def end(self) -> None:
        """Let it end. Returns at once."""
        self._given.put(None)

    def run(self) -> None:
        try:
            connections[self.using].ensure_connection()
            self._sender.connect()
            self.is_ready = True
            while turns := self._given.get():
                while turns.go_on:
                    turns.round(self._sender, self._lanes)
                self._returned.put(None)
        except Exception as error:
            self.error = error
        finally:
            self.is_ready = False
            self._sender.close()
            with suppress(Exception):  # the server may have closed it already
                connections.close_all()
            self._returned.put(None)
