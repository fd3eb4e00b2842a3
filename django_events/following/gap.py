"""Events that a process has missed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A part of a partition that Kafka had no longer when it was to be read, or would not let us read, so that events
    may have been missed.

    Immutable. What was read before it is handled before ``on_gap`` is called, and what comes after it afterwards.
    """

    topic: str
    """Without prefix."""
    partition: int
    start: int
    """The offset that was to be read next; 0 if Kafka did not let us read the topic before, so that nobody can tell."""
    end: int | None
    """The offset at which reading goes on; None if the topic was deleted and made again: what its old records were that
    had not been read, nobody can tell."""

    def __str__(self) -> str:
        where = f"{self.topic}[{self.partition}]@{self.start}"
        return f"{where} to {self.end}" if self.end is not None else f"{where} to the end, as the topic was made again"
