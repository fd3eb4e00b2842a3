"""``commits``: how many transactions a site commits when each tells of itself by an event."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

from benchmarks import checking
from benchmarks.measuring import duration
from benchmarks.place import Place
from benchmarks.processes import Actor, Finished
from benchmarks.site import events
from benchmarks.variant import Seen, Side, Variant

PROCESSES = 2
THREAD, NO_THREAD, BY_HAND, NO_EVENT = "with the thread", "SEND_AFTER_COMMIT=False", "row by hand", "no event"


@dataclass(frozen=True)
class Commits(Variant):
    """So many writers, threads of two processes as in gunicorn, commit as fast as they can."""

    kind: str
    writers: int
    of_each: int

    scenario: ClassVar[str] = "commits"
    unit: ClassVar[str] = "commits/s"
    yardstick: ClassVar[str] = "a row written by hand"

    @property
    def name(self) -> str:
        return f"{self.kind}, {self.writers} writer" + ("s" if self.writers != 1 else "")

    @property
    def events(self) -> int:
        return self.writers * self.of_each

    @property
    def processes(self) -> int:
        return min(PROCESSES, self.writers)

    def kind_of(self, side: Side) -> str:
        return self.kind if side is Side.PRODUCT else BY_HAND

    def actors(self, place: Place, side: Side) -> Sequence[Actor]:
        kind = self.kind_of(side)
        is_by_hand = kind in (BY_HAND, NO_EVENT)
        package = "handwritten" if is_by_hand else "product"
        place.broker.create(events.measured.name, 8)
        env = place.env_by_hand() if is_by_hand else place.env() | {"SEND_AFTER_COMMIT": str(kind == THREAD)}
        return [
            Actor(
                "site",
                f"benchmarks.{package}.commits",
                {"kind": kind, "process": process, "threads": self.writers // self.processes, "commits": self.of_each},
                env,
            )
            for process in range(self.processes)
        ]

    def look(self, place: Place, side: Side, finished: Sequence[Finished]) -> Seen:
        kind, expected = self.kind_of(side), self._expected()
        problems = checking.differences("changes", checking.effects(place), expected)
        if kind == THREAD:
            first = {f"first-{process}": [0] for process in range(self.processes)}
            problems += checking.differences("Kafka", checking.numbers_sent(place.broker), expected | first)
        table = "site_handwrittenrow" if kind == BY_HAND else "django_events_outgoingevent"
        rows, wanted = checking.rows_left(place, table), self.events if kind in (NO_THREAD, BY_HAND) else 0
        if rows != wanted:
            problems.append(f"{table} has {rows:,} rows instead of {wanted:,}")
        return Seen({"": self.events / duration(finished)}, problems, _after(finished))

    def _expected(self) -> dict[str, list[int]]:
        threads = self.writers // self.processes
        keys = [f"key-{process}-{thread}" for process in range(self.processes) for thread in range(threads)]
        return {key: list(range(self.of_each)) for key in keys}


def _after(finished: Sequence[Finished]) -> dict[str, float]:
    """What came after the last commit, of the process in which it was most: they share what waits."""
    told: list[dict[str, float]] = [each.told.get("after", {}) for each in finished]
    return {name: max(each.get(name, 0.0) for each in told) for name in dict.fromkeys(chain(*told))}


@dataclass(frozen=True)
class ByHand(Commits):
    """What a row by hand costs, compared with no event at all: how to read the other variants."""

    yardstick: ClassVar[str] = "no event"

    def kind_of(self, side: Side) -> str:
        return self.kind if side is Side.PRODUCT else NO_EVENT


def variants(quick: bool) -> Sequence[Variant]:
    sizes = {8: 30} if quick else {1: 1_500, 8: 800, 32: 200}
    return [
        variant(kind, writers, of_each)
        for writers, of_each in sizes.items()
        for variant, kind in ((Commits, THREAD), (Commits, NO_THREAD), (ByHand, BY_HAND))
    ]
