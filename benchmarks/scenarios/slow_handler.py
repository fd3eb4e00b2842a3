"""``slow-handler``: one partition whose handler waits; only other keys can be handled meanwhile."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from benchmarks.filling import Load
from benchmarks.place import Place
from benchmarks.processes import Finished
from benchmarks.scenarios.consume import SLOW, Consume
from benchmarks.variant import Seen, Side, Variant

SECONDS, WORKERS = 0.0025, 16


@dataclass(frozen=True)
class SlowHandler(Consume):
    """So many keys in one partition."""

    scenario: ClassVar[str] = "slow-handler"

    @property
    def name(self) -> str:
        return f"{self.load.keys:,} key" + ("s" if self.load.keys != 1 else "")

    @property
    def ideal(self) -> float:
        """Events per second if nothing but the handlers took time."""
        return min(self.workers, self.load.keys) / self.seconds

    def look(self, place: Place, side: Side, finished: Sequence[Finished]) -> Seen:
        seen = super().look(place, side, finished)
        return replace(seen, notes={"of ideal": seen.figures[""] / self.ideal})


def variants(quick: bool) -> Sequence[Variant]:
    sizes = {1_000: 2_000, 10: 500, 1: 100} if quick else {1_000: 20_000, 10: 10_000, 1: 1_000}
    return [
        SlowHandler(SLOW, Load(events, keys=keys), partitions=1, workers=WORKERS, seconds=SECONDS)
        for keys, events in sizes.items()
    ]
