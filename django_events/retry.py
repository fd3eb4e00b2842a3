"""The arithmetic of trying again. Nothing here waits or keeps time."""

import math
import random
from dataclasses import dataclass

from django_events.exceptions import DeclarationError


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

    def __post_init__(self) -> None:
        """Raises DeclarationError for numbers that are no waits."""
        for name, least, most in (("first", 0, 86_400), ("max", 0, 86_400), ("factor", 1, 1_000), ("jitter", 0, 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
                raise DeclarationError(f"Backoff({name}={value!r:.80}): use a number from {least} to {most:,}.")
            if math.isclose(value, 0) and name == "max":
                raise DeclarationError("Backoff(max=0): a handler that fails would be tried without any wait.")

    def delay(self, tries: int) -> float:
        """Seconds to wait after this many tries (1 or more) have failed."""
        exponent = min(tries - 1, 64)  # beyond it every sensible factor has reached max, and floats would overflow
        wait = min(self.first * self.factor**exponent, self.max)
        return wait * random.uniform(1 - self.jitter, 1 + self.jitter)
