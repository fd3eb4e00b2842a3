"""How long a round waits for Kafka."""

SHORTEST, LONGEST = 5.0, 30.0
"""Seconds. A round holds lanes and a transaction while it waits, so there is an end to it. But what has not come by
then is sent again, and may arrive twice: so it is far longer than a busy Kafka that works takes for anything."""


class Patience:
    """Doubles while it is too short, so that a slow Kafka is waited for in the end, and halves when Kafka is quick.
    Owned by one thread."""

    def __init__(self) -> None:
        self.seconds = SHORTEST
        """How long the next round waits at most."""

    def learn(self, *, was_short: bool, seconds: float) -> None:
        """A round has waited so many seconds for its acknowledgements, and whether that was too short for them."""
        if was_short:
            self.seconds = min(self.seconds * 2, LONGEST)
        elif seconds < self.seconds / 4:
            self.seconds = max(self.seconds / 2, SHORTEST)
