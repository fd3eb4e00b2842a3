"""What is measured: a variant of a scenario, which both sides run in the same way on the same parts."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

from benchmarks.place import Ground, Place
from benchmarks.processes import Actor, Finished


class Side(Enum):
    """Who runs."""

    PRODUCT = "product"
    HANDWRITTEN = "handwritten"
    """The yard-stick."""


class Better(Enum):
    """Which figures are good ones."""

    HIGHER = "higher"
    LOWER = "lower"


@dataclass(frozen=True)
class Seen:
    """What a run came to. The first figure is the variant's own; others have a name that is added to the variant's."""

    figures: Mapping[str, float]
    problems: Sequence[str] = ()
    """What is wrong with the data that the run left: a fast wrong run is a failed run."""
    notes: Mapping[str, float] = field(default_factory=dict)
    """Further figures that have no yard-stick."""
    remarks: Sequence[str] = ()
    """What is to be known of the figures, although the data is right."""


class Variant(ABC):
    """One way to run a scenario. Immutable; subclasses are frozen dataclasses."""

    scenario: ClassVar[str]
    unit: ClassVar[str]
    better: ClassVar[Better] = Better.HIGHER
    yardstick: ClassVar[str] = "the loop written by hand"
    repeats: ClassVar[int] = 1
    """How many times as often as others it is run: for what is over in a moment."""
    most_repeats: ClassVar[int] = 1_000
    """More runs of each side than these are not worth their time."""
    yardstick_is_filled: ClassVar[bool] = True
    """Whether the yard-stick's runs, too, get a copy of the tables that ``prepare`` has filled."""
    least: ClassVar[float] = 0.0
    """A figure of the yard-stick below it is too small to be compared with."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Unique in its scenario."""

    @property
    @abstractmethod
    def events(self) -> int:
        """How many events one run is about."""

    def missing(self) -> str | None:
        """Why it cannot run here, as a sentence; None if it can."""
        return None

    def prepare(self, ground: Ground) -> None:  # noqa: B027, most need nothing
        """Once, before the first run: fill the tables that every run gets a copy of, or topics that all read."""

    @contextmanager
    def around(self, place: Place, side: Side) -> Iterator[None]:
        """Around each run, outside of what is timed."""
        yield

    @abstractmethod
    def actors(self, place: Place, side: Side) -> Sequence[Actor]:
        """The processes of one run; they begin together."""

    @abstractmethod
    def look(self, place: Place, side: Side, finished: Sequence[Finished]) -> Seen:
        """What the run came to, and whether its data is right; through clients that share no code with the product."""
