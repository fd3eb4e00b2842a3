"""``broadcast``: from sending to a handler that every process runs; and what many subscribers cost each event."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from benchmarks import checking
from benchmarks.filling import Load
from benchmarks.pace import behind
from benchmarks.percentiles import percentile
from benchmarks.place import Place
from benchmarks.processes import Actor, Finished
from benchmarks.site import events
from benchmarks.variant import Better, Seen, Side, Variant

PARTITIONS = 8
KEY = "key-0"
FEW = 10


@dataclass(frozen=True)
class Hearing(Variant):
    """So many events a second, sent straight to Kafka by one process and heard by another."""

    rate: int
    count: int

    scenario: ClassVar[str] = "broadcast"
    unit: ClassVar[str] = "ms"
    better: ClassVar[Better] = Better.LOWER

    @property
    def name(self) -> str:
        return f"{self.rate:,}/s"

    @property
    def events(self) -> int:
        return self.count

    def actors(self, place: Place, side: Side) -> Sequence[Actor]:
        place.broker.create(events.measured.name, PARTITIONS)
        by_hand = {"servers": place.broker.bootstrap_servers, "prefix": place.broker.prefix}
        more = by_hand if side is Side.HANDWRITTEN else {}
        package = f"benchmarks.{side.value}"
        env = place.env() if side is Side.PRODUCT else place.env_by_hand()
        return [
            Actor("sender", f"{package}.telling", {"rate": self.rate, "events": self.events, **more}, env),
            Actor("hearer", f"{package}.hearing", {"events": self.events, **more}, env),
        ]

    def look(self, place: Place, side: Side, finished: Sequence[Finished]) -> Seen:
        heard: list[tuple[str, int, float]] = finished[1].told["heard"]
        found = checking.by_key((key, number) for key, number, _ in heard)
        problems = checking.differences("heard", found, {KEY: list(range(self.events))})
        waited = [seconds * 1000 for _, _, seconds in heard[1:] or heard]  # the first waits for a connection, too
        figures = {"p50": percentile(waited, 50), "p99": percentile(waited, 99)}
        reached = self.events / (finished[0].ended - finished[0].began)
        return Seen(figures, problems, {"events per second": reached}, behind(self.rate, reached))


@dataclass(frozen=True)
class Subscribers(Variant):
    """Processor time of a process for each event, when it has so many subscribers, of a key of its own each."""

    subscribers: int
    count: int

    scenario: ClassVar[str] = "broadcast"
    unit: ClassVar[str] = "us"
    better: ClassVar[Better] = Better.LOWER
    yardstick: ClassVar[str] = f"{FEW} subscribers"

    @property
    def name(self) -> str:
        return f"an event, {self.subscribers:,} subscribers"

    @property
    def events(self) -> int:
        return self.count

    def load_of(self, side: Side) -> Load:
        return Load(self.events, keys=self.subscribers if side is Side.PRODUCT else FEW)

    def actors(self, place: Place, side: Side) -> Sequence[Actor]:
        place.broker.create(events.measured.name, PARTITIONS)
        load = {"events": self.events, "keys": self.load_of(side).keys}
        kafka = {"servers": place.broker.bootstrap_servers, "prefix": place.broker.prefix}
        return [
            Actor("subscribers", "benchmarks.product.subscribers", load, place.env()),
            Actor("sender", "benchmarks.flood", {**load, **kafka}, place.env()),
        ]

    def look(self, place: Place, side: Side, finished: Sequence[Finished]) -> Seen:
        reader = finished[0]
        problems = checking.differences("got", reader.told["got"], self.load_of(side).expected())
        return Seen({"": reader.cpu / self.events * 1e6}, problems)


def variants(quick: bool) -> Sequence[Variant]:
    return [
        Hearing(100, 100 if quick else 1_000),
        Subscribers(500 if quick else 10_000, 1_000 if quick else 50_000),
    ]
