"""What a run consists of, beside its seed."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.chaos.plan import KINDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """How long the phases of a run are, and what may break. Immutable."""

    calm: float = 10.0
    """Seconds in which nothing breaks and no catch-up runs."""
    catching_up: float = 4.0
    """Seconds in which nothing breaks, with catch-ups."""
    faults: float = 28.0
    """Seconds in which things break, at most."""
    events: int = 0
    """How many committed events are enough to end that phase; 0: it takes its time."""
    kinds: tuple[str, ...] = tuple(KINDS)
    """What may break."""
    rate: float = 15.0
    """Visits a second of each web process while no phase is calm."""
    settles_within: float = 60.0
    """Seconds after the last fault in which everything has to come to rest."""


SCENARIOS: Mapping[str, Scenario] = {
    "standard": Scenario(),
    "kills": Scenario(kinds=("kill",), faults=900.0, events=20_000, rate=300.0, settles_within=300.0),
}

CAST: Mapping[str, tuple[str, ...]] = {
    "web-1": ("visit",),
    "web-2": ("visit",),
    "web-3": ("visit",),
    "web-4": ("visit",),
    "catchup-1": ("catchup", "--interval=0.2"),
    "catchup-2": ("catchup", "--interval=0.2", "--batch-size=4"),  # so few that its second thread has something to do
    "books-1": ("consume", "books"),
    "books-2": ("consume", "books"),
    "watch-1": ("consume", "watch", "shaky"),
    "watch-2": ("consume", "watch", "shaky"),
}
"""The actors of a run, and their commands."""

TOPICS, PARTITIONS = ("moved", "followed"), 4

LATE = "late"
"""One more, with as many partitions. The site cannot make it: the run does, at once or, as a fault, only later."""
