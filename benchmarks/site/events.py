"""The events of the measured site."""

from dataclasses import dataclass

from django_events import Topic

OVERHEAD = 42
"""Bytes of a body without its padding, more or less."""


@dataclass(frozen=True)
class Measured:
    """What every event of the benchmark carries."""

    number: int
    """Counts up within the key."""
    at: float
    """When it was made, in seconds since 1970."""
    padding: str


measured = Topic("bench.measured", Measured)


def padding(size: int) -> str:
    """What makes a body about ``size`` bytes long."""
    return "x" * max(size - OVERHEAD, 0)
