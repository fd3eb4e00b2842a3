"""How many events of one handler are tried in one go, and share a transaction, learned from how it went: a commit
costs more than all else of a short handler."""

import time
from dataclasses import dataclass

MOST = 50
"""Events that are tried in one go: they share a transaction, or at least the way to a worker and back."""

LONGEST = 0.05
"""Seconds that one go may take before it ends with the event that runs: what waits behind it waits no longer."""

LONGEST_SINGLY = 0.02
"""Seconds that one go is meant to take where its events share no transaction. Nothing is saved by a longer one, and it
keeps the next events of all its keys from other workers."""

APART = 60.0
"""Seconds for which a handler runs singly after others were in the way of a shared transaction: a deadlock, or a lock
that did not come free. Short transactions hold their locks for less time."""

WEIGHT = 1 / 8
"""Of the last call in the mean of those before."""


@dataclass(slots=True)
class Sharing:
    """What the workers of a group know of one handler. They write it without a lock: only speed depends on it."""

    seconds: float = 0.0
    """How long a call of the handler takes, in the mean of the last ones; without what the transaction takes."""
    most: int = MOST
    """How many events a transaction has at most, for other reasons than time."""
    used: float = 0.0
    """Seconds of processor that its units have used so far."""
    _apart_until: float = 0.0

    @property
    def is_apart(self) -> bool:
        """Whether each event gets a transaction of its own for now."""
        return time.monotonic() < self._apart_until

    def fitting(self, seconds: float) -> int:
        """How many events are done in so many seconds, one after the other; 1 to 50."""
        return max(1, int(min(MOST, seconds / self.seconds))) if self.seconds else MOST

    def called(self, seconds: float) -> None:
        """A call took so long, whether it failed or not."""
        self.seconds += (seconds - self.seconds) * (WEIGHT if self.seconds else 1)

    def failed(self, *, is_conflict: bool) -> None:
        """A shared transaction was rolled back, so that the next is smaller; after a conflict with others none follows
        for a while."""
        self.most = max(1, self.most // 2)
        if is_conflict:
            self._apart_until = time.monotonic() + APART

    def committed(self, done: int, *, by_hook: bool) -> None:
        """A transaction was committed with so many events. Where the last of them registered a hook, the next one marks
        as many, so that marks are seldom inserted in vain; else it may have twice as many as this could have had."""
        self.most = done if by_hook else min(self.most * 2, MOST)
