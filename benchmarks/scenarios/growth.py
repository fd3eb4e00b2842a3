"""``growth``: what one event costs when much else waits, with many keys, and with many handlers; and an idle look with
many topics."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.filling import Load, fill_outbox
from benchmarks.measuring import duration
from benchmarks.place import Place
from benchmarks.processes import Actor, Finished
from benchmarks.scenarios.consume import NO_OP, Consume
from benchmarks.scenarios.drain import Drain
from benchmarks.variant import Better, Seen, Side, Variant


@dataclass(frozen=True)
class Rows(Drain):
    """So many rows wait."""

    scenario: ClassVar[str] = "growth"
    repeats: ClassVar[int] = 1


@dataclass(frozen=True)
class MostRows(Rows):
    """So many that each run takes minutes."""

    most_repeats: ClassVar[int] = 2


@dataclass(frozen=True)
class Handlers(Consume):
    """So many keys, or so many handlers of each event."""

    scenario: ClassVar[str] = "growth"
    unit: ClassVar[str] = "calls/s"

    @property
    def name(self) -> str:
        return f"{self.load.keys:,} keys, {self.handlers} handler" + ("s" if self.handlers != 1 else "")


@dataclass(frozen=True)
class Topics(Variant):
    """A look of catch-up that finds nothing, at an outbox that has had events of so many topics."""

    topics: int
    looks: int

    scenario: ClassVar[str] = "growth"
    unit: ClassVar[str] = "ms"
    better: ClassVar[Better] = Better.LOWER
    yardstick: ClassVar[str] = "1 topic"

    @property
    def name(self) -> str:
        return f"idle look, {self.topics} topics"

    @property
    def events(self) -> int:
        return self.looks

    @contextmanager
    def around(self, place: Place, side: Side) -> Iterator[None]:
        fill_outbox(place.database, Load(0, topics=self.topics if side is Side.PRODUCT else 1))
        yield

    def actors(self, place: Place, side: Side) -> Sequence[Actor]:
        return [Actor("catchup", "benchmarks.product.idle_looks", {"looks": self.looks}, place.env())]

    def look(self, place: Place, side: Side, finished: Sequence[Finished]) -> Seen:
        problems = ["a look has sent something"] if finished[0].told["sent"] else []
        return Seen({"": duration(finished) / self.looks * 1000}, problems)


def variants(quick: bool) -> Sequence[Variant]:
    *rows, most = (100, 2_000) if quick else (1_000, 100_000, 1_000_000)
    keys = (100, 1_000) if quick else (100, 100_000)
    events = 1_000 if quick else 100_000
    return [
        *(Rows(f"{count:,} rows", Load(count)) for count in rows),
        MostRows(f"{most:,} rows", Load(most)),
        *(Handlers(NO_OP, Load(events, keys=count), 8, 8) for count in keys),
        *(Handlers(NO_OP, Load(events // count), 8, 8, handlers=count) for count in (10, 50)),
        Topics(50, looks=20 if quick else 200),
    ]
