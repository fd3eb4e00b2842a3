"""Lets other threads wait until a reader has looked once more which topics and partitions there are."""

import threading
from collections.abc import Iterable


class Looks:
    """Which looks others have asked for, and which of them have been made. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._seen: frozenset[str] = frozenset()
        self._made = 0
        self._asked = 0
        self._are_over = False

    def ask(self) -> int:
        """Ask for a look that begins after this; its number."""
        with self._changed:
            self._asked += 1
            return self._asked

    def begun(self) -> int:
        """A look begins: the number of the last one that was asked for. Until it is made, nothing is known."""
        with self._changed:
            self._seen = frozenset()
            return self._asked

    def made(self, number: int, topics: Iterable[str]) -> None:
        """The looks up to this number have been made; these topics are wanted, and followed if Kafka has them."""
        with self._changed:
            self._made = max(self._made, number)
            self._seen = frozenset(topics)
            self._changed.notify_all()

    def end(self) -> None:
        """There will be no more of them."""
        with self._changed:
            self._seen = frozenset()
            self._are_over = True
            self._changed.notify_all()

    def wait(self, number: int, timeout: float) -> bool:
        """Wait until this look has been made; False if that takes longer than so many seconds, or it never will be."""
        with self._changed:
            self._changed.wait_for(lambda: self._made >= number or self._are_over, timeout)
            return self._made >= number

    def have_seen(self, topic: str) -> bool:
        """Whether this topic was wanted already at the last look."""
        with self._changed:
            return topic in self._seen
