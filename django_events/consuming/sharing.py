"""How many events of one handler share a transaction, learned from how it went. See PostgreSQL's cost of a commit."""

import time
from dataclasses import dataclass

MOST = 50
"""Events that are tried in one go: they share a transaction, or at least the way to a worker and back."""

LONGEST = 0.05
"""Seconds that one go may take before it ends with the event that runs: what waits behind it waits no longer."""

APART = 60.0
"""Seconds for which a handler runs singly after others were in the way of a shared transaction: a deadlock, or a lock
that did not come free. Short transactions hold their locks for less time."""


@dataclass(slots=True)
class Sharing:
    """What the workers of a group know of one handler. They write it without a lock: only speed depends on it."""

    size: int = MOST
    """How many events fit into the time."""
    _apart_until: float = 0.0

    @property
    def is_apart(self) -> bool:
        """Whether each event gets a transaction of its own for now."""
        return time.monotonic() < self._apart_until

    def failed(self, *, is_conflict: bool) -> None:
        """A shared transaction was rolled back, so that the next is smaller; after a conflict with others none follows
        for a while."""
        self.size = max(1, self.size // 2)
        if is_conflict:
            self._apart_until = time.monotonic() + APART

    def took(self, done: int, of: int) -> None:
        """So many of these events were handled before the transaction ended. The next one marks as many, so that
        marks are seldom inserted in vain; where all were handled, twice as many."""
        self.size = max(1, done) if done < of else min(max(self.size, done * 2), MOST)
