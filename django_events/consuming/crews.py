"""How many workers a handler with short calls gets at once, learned while they run.

Python runs one thread at a time. Where calls are short, some few workers keep it busy; each further one makes the calls
of all take longer, so fewer events fit into the time of a transaction, and more of them are in memory than the
processor's cache holds. Where calls wait for something else, all workers are needed.
"""

import time
from collections.abc import Callable, Collection

FEWEST = 2
"""Workers of a handler that now and then waits, as for the database: meanwhile another runs."""

LOOK = 0.02
"""Seconds between two looks: four turns of Python's threads."""

IDLE, ROOM, FULL, ALL = 0.5, 0.85, 0.95, 0.98
"""Seconds of processor that this process uses in a second. Below the first, twice as many workers may do more, below
the second one more; above the third, they only wait for Python's lock. Above the last for a while, nothing else is ever
waited for: then one worker does most."""

MANY = 1.25
"""Above this, it uses several processors: what runs lets go of Python's lock, so more workers do more."""

SHARE = 1 / 4
"""Of what the process uses: a handler that uses less is not what keeps Python busy, so fewer workers would not help."""

WEIGHT = 1 / 4
"""Of the last look in means: a handler's units end now and then, each with all that it has used."""


class Crew:
    """The workers of one handler."""

    __slots__ = ("_most", "_own", "_usage", "size", "was_too_small")

    def __init__(self, most: int) -> None:
        """``most``: workers of the group. It begins with all."""
        self._most = most
        self._own = 0.0
        self._usage = 0.0
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
        self._usage += (usage - self._usage) * WEIGHT
        keeps_python_busy = usage < MANY and self._own > usage * SHARE
        if keeps_python_busy and usage > FULL:
            self.size = max(self.size * 2 // 3, 1 if self._usage > ALL else min(FEWEST, self.size))
        elif self.was_too_small and not (keeps_python_busy and usage > ROOM):
            more = self.size if usage < IDLE else 1
            self.size = min(self.size + more, self._most)
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
