"""Results: what became of one figure of one variant, and the JSON file that keeps them."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Costs:
    """What one side costs: medians over its runs."""

    cpu: dict[str, float] = field(default_factory=dict)
    """Seconds of processor per 1,000 events, by process; servers are processes, too, and all of one name are one."""
    memory: dict[str, float] = field(default_factory=dict)
    """MB that each process had at most; of several of one name, the largest."""
    statements: float | None = None
    """SQL statements per event; None where PostgreSQL does not count them."""
    wal: float = 0.0
    """Bytes of write-ahead log per event."""
    dead_tuples: float = 0.0
    """Per event."""


@dataclass(frozen=True)
class Result:
    """One figure of one variant: an object in the JSON file."""

    scenario: str
    variant: str
    unit: str
    better: str
    """Whether ``higher`` or ``lower`` figures are good ones."""
    product: float | None
    """The median of its runs; None if none of them came to an end."""
    handwritten: float | None
    """The same of the yard-stick."""
    ratio: float | None
    """The median of product by yard-stick in each pair of runs."""
    ratio_range: tuple[float, float] | None
    yardstick: str
    events: int
    """Of one run."""
    repeats: int
    correct: bool
    """Whether the data of every run was right."""
    problems: list[str] = field(default_factory=list)
    costs: dict[str, Costs] = field(default_factory=dict)
    """Of ``product`` and ``handwritten``."""
    notes: dict[str, dict[str, float]] = field(default_factory=dict)
    """Further figures of each side that are not compared."""
    remarks: list[str] = field(default_factory=list)
    """What is to be known of the figures, although the data is right."""
    run: dict[str, Any] = field(default_factory=dict)
    """When and where it was measured, as ``machine`` tells it."""

    @property
    def name(self) -> str:
        return f"{self.scenario} {self.variant}"


def median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def save(results: Sequence[Result], path: Path) -> None:
    path.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")


def load(path: Path) -> list[Result]:
    """The results in a file that ``save`` made. Raises ValueError that says what is wrong with the file."""
    try:
        found = json.loads(path.read_text())
        return [_result(each) for each in found]
    except (OSError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is no file of results: {error}. Make one with ./dev bench --json FILE.") from error


def _result(found: dict[str, Any]) -> Result:
    costs = {side: Costs(**each) for side, each in found["costs"].items()}
    limits = found["ratio_range"]
    return Result(**{**found, "costs": costs, "ratio_range": tuple(limits) if limits else None})
