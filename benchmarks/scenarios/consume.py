"""``consume``: a topic full of records is handled by one process."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from benchmarks import checking
from benchmarks.filling import Load, fill_topic
from benchmarks.measuring import duration
from benchmarks.place import Ground, Place
from benchmarks.processes import Actor, Finished
from benchmarks.variant import Better, Seen, Side, Variant

NO_OP, INSERT, BATCH, SLOW, COUNTED = "no-op", "insert", "batch", "slow", "counted"
LABELS = {
    NO_OP: "no-op idempotent",
    INSERT: "exactly-once, one ORM insert",
    BATCH: "exactly-once batch, bulk_create",
    SLOW: "2.5 ms",
}
BATCHES_MISSING = "This version has no batch handlers (django_events.Batch)."


@dataclass(frozen=True)
class Consume(Variant):
    """One process handles all records of a topic."""

    kind: str
    load: Load
    partitions: int
    workers: int
    handlers: int = 1
    seconds: float = 0.0
    """What a call of the handler takes."""
    on_one_processor: bool = False
    """Whether the product's process is kept on one, as by ``taskset``. The loop's never is: it would be slower."""

    scenario: ClassVar[str] = "consume"
    unit: ClassVar[str] = "events/s"

    @property
    def name(self) -> str:
        name = f"{LABELS[self.kind]}, {_many(self.partitions, 'partition')}, {_many(self.workers, 'worker')}"
        return f"{name}, on one processor" if self.on_one_processor else name

    @property
    def events(self) -> int:
        return self.load.events

    def missing(self) -> str | None:
        import django_events

        return BATCHES_MISSING if self.kind == BATCH and not hasattr(django_events, "Batch") else None

    def prepare(self, ground: Ground) -> None:
        fill_topic(ground.shared, self.load, self.partitions)

    def actors(self, place: Place, side: Side) -> Sequence[Actor]:
        arguments = {
            "kind": self.kind,
            "group": place.name,
            "events": self.events,
            "workers": self.workers,
            "handlers": self.handlers,
            "seconds": self.seconds,
        }
        if side is Side.PRODUCT:
            kept = {"on_one_processor": self.on_one_processor}
            return [Actor("consume", "benchmarks.product.consume", arguments | kept, place.env(shared=True))]
        by_hand = {"servers": place.shared.bootstrap_servers, "prefix": place.shared.prefix}
        return [Actor("loop", "benchmarks.handwritten.consume", arguments | by_hand, place.env_by_hand(shared=True))]

    def look(self, place: Place, side: Side, finished: Sequence[Finished]) -> Seen:
        rate = self.events * self.handlers / duration(finished)
        return Seen({"": rate}, self._problems(place, finished))

    def _problems(self, place: Place, finished: Sequence[Finished]) -> list[str]:
        expected = self.load.expected()
        if self.kind in (INSERT, BATCH):
            return checking.differences("effects", checking.effects(place), expected)
        calls = [checking.by_key(map(tuple, seen)) for seen in finished[0].told["seen"]]
        problems = [each for found in calls for each in checking.differences("calls", found, expected)]
        if len(calls) != self.handlers:
            problems.append(f"{len(calls)} of {self.handlers} handlers were called")
        return problems


@dataclass(frozen=True)
class Memory(Variant):
    """The most memory of a process that handles many events, and of one that ends after a tenth of them, when it has
    had each key once."""

    load: Load

    scenario: ClassVar[str] = "consume"
    unit: ClassVar[str] = "MB"
    better: ClassVar[Better] = Better.LOWER
    yardstick: ClassVar[str] = "after a tenth of them"
    most_repeats: ClassVar[int] = 1

    @property
    def name(self) -> str:
        return f"memory after {self.load.events:,} events of {self.load.keys:,} keys"

    @property
    def events(self) -> int:
        return self.load.events

    def prepare(self, ground: Ground) -> None:
        fill_topic(ground.shared, self.load, partitions=8)

    def actors(self, place: Place, side: Side) -> Sequence[Actor]:
        arguments = {"kind": COUNTED, "group": place.name, "events": self._wanted(side)}
        rest = {"workers": 4, "handlers": 1, "seconds": 0.0}
        return [Actor("consume", "benchmarks.product.consume", arguments | rest, place.env(shared=True))]

    def look(self, place: Place, side: Side, finished: Sequence[Finished]) -> Seen:
        (seen,) = finished[0].told["seen"]
        is_right = seen["in order"] and self._wanted(side) <= seen["count"] <= self.load.events
        return Seen({"": finished[0].memory / 1e6}, [] if is_right else [f"the handler was called otherwise: {seen}"])

    def _wanted(self, side: Side) -> int:
        return self.load.events if side is Side.PRODUCT else self.load.events // 10


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("s" if number != 1 else "")


def variants(quick: bool) -> Sequence[Variant]:
    events = {NO_OP: 2_000, INSERT: 500, BATCH: 1_000} if quick else {NO_OP: 60_000, INSERT: 8_000, BATCH: 25_000}
    most = 5_000 if quick else 1_000_000
    return [
        *(
            Consume(kind, Load(events[kind]), partitions, workers)
            for kind in (NO_OP, INSERT, BATCH)
            for partitions in (1, 8)
            for workers in (1, 4, 16)
        ),
        *(
            Consume(kind, Load(events[kind]), partitions=8, workers=workers, on_one_processor=True)
            for kind in (NO_OP, INSERT, BATCH)
            for workers in (1, 4, 16)
        ),
        Memory(Load(most, keys=most // 10)),
    ]
