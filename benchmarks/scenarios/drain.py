"""``drain``: rows that wait in the outbox are sent by catch-up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from benchmarks import checking
from benchmarks.filling import Load, fill_outbox
from benchmarks.measuring import duration
from benchmarks.place import Ground, Place
from benchmarks.processes import Actor, Finished
from benchmarks.variant import Seen, Side, Variant

PARTITIONS = 8
PARTITIONS_OF_MANY = 2
"""Of each topic where there are many."""


@dataclass(frozen=True)
class Drain(Variant):
    """So many processes drain one outbox together."""

    label: str
    load: Load
    processes: int = 1

    scenario: ClassVar[str] = "drain"
    unit: ClassVar[str] = "events/s"
    repeats: ClassVar[int] = 2  # over in a second
    most_repeats: ClassVar[int] = 4  # an even number, so that each side goes first as often

    @property
    def name(self) -> str:
        return self.label

    @property
    def events(self) -> int:
        return self.load.events

    def prepare(self, ground: Ground) -> None:
        fill_outbox(ground.database, self.load)

    def actors(self, place: Place, side: Side) -> Sequence[Actor]:
        for name in self.load.names:
            place.broker.create(name, PARTITIONS if self.load.topics == 1 else PARTITIONS_OF_MANY)
        return drainers(place, side, self.processes)

    def look(self, place: Place, side: Side, finished: Sequence[Finished]) -> Seen:
        return Seen({"": self.load.events / duration(finished)}, drained_wrongly(place, self.load))


def drainers(place: Place, side: Side, processes: int) -> list[Actor]:
    """Processes that send all that waits."""
    if side is Side.PRODUCT:
        return [Actor("catchup", "benchmarks.product.drain", {}, place.env()) for _ in range(processes)]
    arguments = {
        "database": place.database,
        "servers": place.broker.bootstrap_servers,
        "prefix": place.broker.prefix,
        "processes": processes,
    }
    return [Actor("loop", "benchmarks.handwritten.drain", arguments) for _ in range(processes)]


def drained_wrongly(place: Place, load: Load) -> list[str]:
    """What is wrong with the topic and the outbox after all was sent."""
    problems = checking.differences("Kafka", checking.numbers_sent(place.broker, load.names), load.expected())
    if left := checking.rows_left(place):
        problems.append(f"{left:,} rows are still in the outbox")
    return problems


def variants(quick: bool) -> Sequence[Variant]:
    whole, large = (2_000, 200) if quick else (50_000, 10_000)
    many = Load(whole)
    return [
        Drain("1 process", many),
        Drain("2 processes", many, processes=2),
        Drain("4 processes", many, processes=4),
        Drain("one hot key", Load(whole, keys=1)),
        Drain("10 kB", Load(large, size=10_000)),
        Drain("50 topics", Load(whole, topics=50)),
    ]
