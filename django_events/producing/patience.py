"""How long a round waits for Kafka."""

SHORTEST, FIRST, LONGEST = 1.0, 5.0, 30.0
"""Seconds. A round holds lanes and a transaction while it waits, so it waits no longer than it must. But what has not
come by then is sent again, and may arrive twice: so at first, when connections and topics are new, it waits longer."""

QUICK_ROUNDS = 10
"""So many rounds in a row must have been much quicker than the wait before the wait is shortened."""


class Patience:
    """Doubles while nothing is acknowledged, so that a slow Kafka is waited for in the end, and halves when Kafka is
    quick for some time. Owned by one thread."""

    def __init__(self) -> None:
        self.seconds = FIRST
        """How long the next round waits at most."""
        self._quick = 0

    def learn(self, *, acknowledged: int, seconds: float) -> None:
        """A round has waited so many seconds for so many acknowledgements."""
        self._quick = self._quick + 1 if acknowledged and seconds < self.seconds / 4 else 0
        if not acknowledged:
            self.seconds = min(self.seconds * 2, LONGEST)
        elif self._quick >= QUICK_ROUNDS:
            self.seconds, self._quick = max(self.seconds / 2, SHORTEST), 0
