"""``instrumentation``: what metrics cost, and metrics and spans, compared with a process that lacks both extras."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

from benchmarks.filling import Load
from benchmarks.instruments import METRICS, NOTHING, SAMPLED, SPANS, VARIABLE
from benchmarks.place import Ground, Place
from benchmarks.processes import Actor, Finished
from benchmarks.scenarios import commits, drain
from benchmarks.scenarios.consume import BATCH, INSERT, NO_OP, SLOW, Consume
from benchmarks.scenarios.slow_handler import SECONDS, WORKERS, SlowHandler
from benchmarks.variant import Seen, Side, Variant


@dataclass(frozen=True)
class Instrumented(Variant):
    """The product's side of another scenario's variant, with instruments and without."""

    measured: Variant
    instruments: str

    scenario: ClassVar[str] = "instrumentation"
    unit: ClassVar[str] = "events/s"
    yardstick: ClassVar[str] = "without the extras"

    @property
    def name(self) -> str:
        return f"{self.instruments}: {self.measured.scenario}, {self.measured.name}"

    @property
    def events(self) -> int:
        return self.measured.events

    def prepare(self, ground: Ground) -> None:
        self.measured.prepare(ground)

    @contextmanager
    def around(self, place: Place, side: Side) -> Iterator[None]:
        with self.measured.around(place, Side.PRODUCT):
            yield

    def actors(self, place: Place, side: Side) -> Sequence[Actor]:
        instruments = {VARIABLE: self.instruments if side is Side.PRODUCT else NOTHING}
        actors = self.measured.actors(place, Side.PRODUCT)
        return [replace(actor, env={**actor.env, **instruments}) for actor in actors]

    def look(self, place: Place, side: Side, finished: Sequence[Finished]) -> Seen:
        return self.measured.look(place, Side.PRODUCT, finished)


@dataclass(frozen=True)
class InstrumentedCommits(Instrumented):
    """Commits instead of events."""

    unit: ClassVar[str] = "commits/s"


def variants(quick: bool) -> Sequence[Variant]:
    scale = 100 if quick else 1
    measured = [
        drain.Drain("1 process", Load(50_000 // scale)),
        *(
            Consume(kind, Load(events // scale), partitions=8, workers=4)
            for kind, events in ((NO_OP, 60_000), (INSERT, 8_000), (BATCH, 25_000))
        ),
        SlowHandler(SLOW, Load(20_000 // scale), partitions=1, workers=WORKERS, seconds=SECONDS),
    ]
    of_commits = commits.Commits(commits.THREAD, 8, 800 // scale)
    return [
        *(Instrumented(each, instruments) for instruments in (METRICS, SAMPLED, SPANS) for each in measured),
        *(InstrumentedCommits(of_commits, instruments) for instruments in (METRICS, SAMPLED, SPANS)),
    ]
