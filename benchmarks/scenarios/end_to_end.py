"""``end-to-end``: from an HTTP request to the commit of the handler in another process."""

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


@dataclass(frozen=True)
class EndToEnd(Variant):
    """So many requests a second to gunicorn, and one consuming process that writes an effect of each."""

    rate: int
    requests: int

    scenario: ClassVar[str] = "end-to-end"
    unit: ClassVar[str] = "ms"
    better: ClassVar[Better] = Better.LOWER
    yardstick: ClassVar[str] = "a site and loops written by hand"

    @property
    def name(self) -> str:
        return f"{self.rate:,}/s"

    @property
    def events(self) -> int:
        return self.requests

    def actors(self, place: Place, side: Side) -> Sequence[Actor]:
        place.broker.create(events.measured.name, 8)
        arguments = {"rate": self.rate, "requests": self.requests, "package": _package(side)}
        by_hand = {"servers": place.broker.bootstrap_servers, "prefix": place.broker.prefix}
        consumer = {"group": place.name, "events": self.requests} | (by_hand if side is Side.HANDWRITTEN else {})
        env = place.env() if side is Side.PRODUCT else place.env_by_hand()
        return [
            Actor("site", "benchmarks.visitors", arguments, env),
            Actor("consume", f"benchmarks.{_package(side)}.arrivals", consumer, env),
        ]

    def look(self, place: Place, side: Side, finished: Sequence[Finished]) -> Seen:
        asked: dict[str, float] = finished[0].told["asked"]
        handled: dict[str, float] = finished[1].told["handled"]
        waited = [seconds * 1000 for seconds in steady(asked, handled)]
        effects = checking.effects(place)
        expected = {"visitor": list(range(self.requests))}
        found = {key: sorted(numbers) for key, numbers in effects.items()}  # requests run side by side
        problems = checking.differences("effects", found, expected)
        if effects != checking.numbers_sent(place.broker):
            problems.append("effects: they are not in the order in which Kafka has the events")
        figures = {"p50": percentile(waited, 50), "p99": percentile(waited, 99)} if waited else {}
        reached = self.requests / (finished[0].ended - finished[0].began)
        return Seen(figures, problems, {"requests per second": reached}, behind(self.rate, reached))


def _package(side: Side) -> str:
    return "product" if side is Side.PRODUCT else "handwritten"


def variants(quick: bool) -> Sequence[Variant]:
    return [EndToEnd(100, 100 if quick else 1_000)]
