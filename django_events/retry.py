"""The arithmetic of trying again. Nothing here waits or keeps time."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long to wait before the next try. Immutable and thread-safe."""

    first: float = 1.0
    """Seconds before the second try."""
    max: float = 30.0
    """The longest wait in seconds, before jitter."""
    factor: float = 2.0
    """By how much each wait is longer than the one before."""
    jitter: float = 0.05
    """The largest share of a wait by which it is made longer or shorter, so that many do not try at once."""

    def delay(self, tries: int) -> float:
        """Seconds to wait after this many tries (1 or more) have failed."""
        exponent = min(tries - 1, 64)  # beyond it every sensible factor has reached max, and floats would overflow
        wait = min(self.first * self.factor**exponent, self.max)
        return wait * random.uniform(1 - self.jitter, 1 + self.jitter)
