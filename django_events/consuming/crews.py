"""How many workers a handler with short calls gets at once, learned while they run.

Python runs one thread at a time. Where calls are short, some few workers keep it busy; each further one makes the calls
of all take longer, so fewer events fit into the time of a transaction, and more of them are in memory than the
processor's cache holds. Where calls wait for something else, all workers are needed.
"""

import time
from collections.abc import Callable, Collection

FEWEST = 2
"""Workers that any handler may have: while one waits for the database, another runs. And with two it shows whether they
let go of Python's lock, as what computes in C may."""

LOOK = 0.02
"""Seconds between two looks: four turns of Python's threads."""

IDLE, ROOM, FULL = 0.5, 0.85, 0.95
"""Seconds of processor that this process uses in a second. Below the first nobody waits for Python's lock, so all
workers may work; below the second, one more may do more; above the last, they only wait for the lock."""

MANY = 1.25
"""Above this, it uses several processors: what runs lets go of Python's lock, so more workers do more."""

SHARE = 1 / 4
"""Of what the process uses: a handler that uses less is not what keeps Python busy, so fewer workers would not help."""

WEIGHT = 1 / 4
"""Of the last look in the mean of a handler's use: its units end now and then, each with all that it has used."""


class Crew:
    """The workers of one handler."""

    __slots__ = ("_most", "_own", "size", "was_too_small")

    def __init__(self, most: int) -> None:
        """``most``: workers of the group. It begins with all."""
        self._most = most
        self._own = 0.0
        self.size = most
        """How many it may have at once."""
        self.was_too_small = False
        """Whether it has kept anything waiting since the last look."""

    @property
    def is_whole(self) -> bool:
        """Whether it is all workers of the group."""
        return self.size == self._most

    def look(self, usage: float, own: float) -> None:
        """Shrink where Python has no more to give, and grow where it has, or where it is others that have it.

        ``usage``: seconds of processor that the process has used in each second of late; ``own``: those of them that
        this handler's events have used.
        """
        self._own += (own - self._own) * WEIGHT
        keeps_python_busy = usage < MANY and self._own > usage * SHARE
        if usage < IDLE:
            self.size = self._most
        elif keeps_python_busy and usage > FULL:
            self.size = max(self.size * 2 // 3, min(FEWEST, self._most))
        elif self.was_too_small and not (keeps_python_busy and usage > ROOM):
            self.size = min(self.size + 1, self._most)
        self.was_too_small = False


class Crews:
    """Those of the handlers of one group. Used by the thread that hands out."""

    def __init__(self, handlers: Collection[str], most: int, used_by: Callable[[str], float]) -> None:
        """``most``: workers of the group; ``used_by``: seconds of processor that a handler's events have used."""
        self._crews = {handler: Crew(most) for handler in handlers}
        self._used_by = used_by
        self._looked_at = time.monotonic()
        self._used = time.process_time()
        self._used_by_each = dict.fromkeys(handlers, 0.0)

    def __getitem__(self, handler: str) -> Crew:
        return self._crews[handler]

    def look(self, now: float) -> None:
        """Have all look, if that is not long ago. ``now`` is of time.monotonic."""
        seconds = now - self._looked_at
        if seconds < LOOK:
            return
        used, self._looked_at = time.process_time(), now
        usage, self._used = (used - self._used) / seconds, used
        for handler, crew in self._crews.items():
            used_before, self._used_by_each[handler] = self._used_by_each[handler], self._used_by(handler)
            crew.look(usage, (self._used_by_each[handler] - used_before) / seconds)
