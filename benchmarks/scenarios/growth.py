"""``growth``: what one event costs when much else waits, with many keys, and with many handlers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.filling import Load
from benchmarks.scenarios.consume import NO_OP, Consume
from benchmarks.scenarios.drain import Drain
from benchmarks.variant import Variant


@dataclass(frozen=True)
class Rows(Drain):
    """So many rows wait."""

    scenario: ClassVar[str] = "growth"
    repeats: ClassVar[int] = 1


@dataclass(frozen=True)
class Handlers(Consume):
    """So many keys, or so many handlers of each event."""

    scenario: ClassVar[str] = "growth"
    unit: ClassVar[str] = "calls/s"

    @property
    def name(self) -> str:
        return f"{self.load.keys:,} keys, {self.handlers} handler" + ("s" if self.handlers != 1 else "")


def variants(quick: bool) -> Sequence[Variant]:
    rows = (100, 2_000) if quick else (1_000, 100_000, 1_000_000)
    keys = (100, 1_000) if quick else (100, 100_000)
    events = 1_000 if quick else 100_000
    return [
        *(Rows(f"{count:,} rows", Load(count)) for count in rows),
        *(Handlers(NO_OP, Load(events, keys=count), 8, 8) for count in keys),
        *(Handlers(NO_OP, Load(events // count), 8, 8, handlers=count) for count in (10, 50)),
    ]
