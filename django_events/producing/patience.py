"""How long a round waits for Kafka."""

SHORTEST, LONGEST = 1.0, 30.0
"""Seconds. A round holds lanes and a transaction while it waits, so it waits no longer than it must."""


class Patience:
    """Grows while nothing is acknowledged, so that a slow Kafka is waited for in the end, and shrinks when Kafka is
    quick again. Owned by one thread."""

    def __init__(self) -> None:
        self.seconds = SHORTEST
        """How long the next round waits at most."""

    def learn(self, *, acknowledged: int, seconds: float) -> None:
        """A round has waited so many seconds for so many acknowledgements."""
        if not acknowledged:
            self.seconds = min(self.seconds * 2, LONGEST)
        elif seconds < self.seconds / 4:
            self.seconds = max(self.seconds / 2, SHORTEST)
