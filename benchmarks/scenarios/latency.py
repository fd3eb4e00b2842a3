"""``latency``: from a commit to the moment at which Kafka has the event."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from benchmarks import checking
from benchmarks.pace import behind
from benchmarks.percentiles import percentile, steady
from benchmarks.place import Place
from benchmarks.processes import Actor, Finished
from benchmarks.site import events
from benchmarks.variant import Better, Seen, Side, Variant

CUT_OFF = 0.5
"""Milliseconds by which Kafka's timestamps are too early on average: they are whole ones, rounded down."""

ENOUGH = 100
"""Events of which the slowest hundredth is told; of fewer it is the slowest one, whatever had kept it."""

LOOK_EVERY = 0.1
"""Seconds between two looks of catch-up, and of the loop that stands for it."""


@dataclass(frozen=True)
class Latency(Variant):
    """So many commits a second, sent by the thread of the process or by catch-up alone."""

    rate: int
    count: int
    by_thread: bool = True

    scenario: ClassVar[str] = "latency"
    unit: ClassVar[str] = "ms"
    better: ClassVar[Better] = Better.LOWER
    least: ClassVar[float] = 1.0

    @property
    def name(self) -> str:
        return f"{self.rate:,}/s by " + ("the thread" if self.by_thread else f"catchup every {LOOK_EVERY:g} s")

    @property
    def events(self) -> int:
        return self.count

    @property
    def threads(self) -> int:
        """Of the site: one alone does not commit a thousand times a second."""
        return 4 if self.rate >= 1_000 else 1

    def actors(self, place: Place, side: Side) -> Sequence[Actor]:
        place.broker.create(events.measured.name, 8, message_timestamp_type="LogAppendTime")
        arguments: dict[str, object] = {"rate": self.rate, "events": self.events, "threads": self.threads}
        env = place.env() | {"SEND_AFTER_COMMIT": str(self.by_thread)}
        sender = {"events": self.events, "every": LOOK_EVERY}
        by_hand = {"database": place.database, "servers": place.broker.bootstrap_servers, "prefix": place.broker.prefix}
        if side is Side.PRODUCT:
            site = [Actor("site", "benchmarks.product.latency", arguments, env)]
            return site + [Actor("catchup", "benchmarks.product.looking", sender, env)] * (not self.by_thread)
        arguments |= {**by_hand, "by_thread": self.by_thread}
        site = [Actor("site", "benchmarks.handwritten.latency", arguments, place.env_by_hand())]
        return site + [Actor("loop", "benchmarks.handwritten.looking", {**sender, **by_hand})] * (not self.by_thread)

    def look(self, place: Place, side: Side, finished: Sequence[Finished]) -> Seen:
        committed: dict[str, float] = finished[0].told["committed"]
        records = checking.sent(place.broker)
        seconds = steady(committed, {record.id: record.at for record in records})
        waited = [each * 1000 + CUT_OFF for each in seconds]
        problems = checking.differences("Kafka", checking.numbers_of(records), self._expected())
        if len(committed) != self.events:
            problems.append(f"{len(committed):,} of {self.events:,} events were committed")
        percents = (50, 99) if self.events >= ENOUGH else (50,)
        figures = {f"p{percent}": percentile(waited, percent) for percent in percents} if waited else {}
        reached = float(finished[0].told["commits_per_second"])
        return Seen(figures, problems, {"commits per second": reached}, behind(self.rate, reached))

    def _expected(self) -> dict[str, list[int]]:
        shares = {thread: range(thread, self.events, self.threads) for thread in range(self.threads)}
        return {f"key-{thread}": list(range(len(share))) for thread, share in shares.items()}


@dataclass(frozen=True)
class FirstEvent(Latency):
    """The first event of a fresh process, which has no connection to Kafka yet."""

    @property
    def name(self) -> str:
        return "first event of a process"

    def look(self, place: Place, side: Side, finished: Sequence[Finished]) -> Seen:
        seen = super().look(place, side, finished)
        figures = {"": seen.figures["p50"]} if seen.figures else {}
        return Seen(figures, seen.problems)


def variants(quick: bool) -> Sequence[Variant]:
    sizes = {1: 2, 100: 100, 1_000: 500} if quick else {1: 15, 100: 1_000, 1_000: 10_000}
    return [
        *(Latency(rate, count) for rate, count in sizes.items()),
        *(Latency(rate, count, by_thread=False) for rate, count in sizes.items()),
        FirstEvent(rate=1, count=1),
    ]
