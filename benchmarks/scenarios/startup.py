"""``startup``: what the product adds to a web process that never sends, and how soon ``consume`` has its partitions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.measuring import duration
from benchmarks.place import Place
from benchmarks.processes import Actor, Finished
from benchmarks.site import events as site
from benchmarks.variant import Better, Seen, Side, Variant


@dataclass(frozen=True)
class WebProcess(Variant):
    """A site with so many topics: until its URLs are read, as for its first request."""

    topics: int

    scenario: ClassVar[str] = "startup"
    unit: ClassVar[str] = "ms"
    better: ClassVar[Better] = Better.LOWER
    yardstick: ClassVar[str] = "the site without the product"
    repeats: ClassVar[int] = 3
    most_repeats: ClassVar[int] = 5

    @property
    def events(self) -> int:
        return 1

    @property
    def name(self) -> str:
        return f"web process, {self.topics} topic" + ("s" if self.topics != 1 else "")

    def actors(self, place: Place, side: Side) -> Sequence[Actor]:
        package = "product" if side is Side.PRODUCT else "handwritten"
        env = {"DJANGO_SETTINGS_MODULE": f"benchmarks.{package}.web_settings", "BENCHMARK_TOPICS": str(self.topics)}
        return [Actor("site", "benchmarks.web_process", {}, env)]

    def look(self, place: Place, side: Side, finished: Sequence[Finished]) -> Seen:
        told = finished[0].told
        problems = ["librdkafka is loaded, although nothing is sent"] if told["librdkafka"] else []
        if side is Side.PRODUCT and told["topics"] < self.topics:
            problems.append(f"{told['topics']} of {self.topics} topics are declared")
        notes = {
            "processor ms": finished[0].cpu * 1000,
            "MB": told["memory"] / 1e6,
            "modules": float(told["modules"]),
        }
        return Seen({"": duration(finished) * 1000}, problems, notes)


@dataclass(frozen=True)
class StartOfConsume(Variant):
    """Until a group of one handler has its partitions; Python and Django are there already."""

    scenario: ClassVar[str] = "startup"
    unit: ClassVar[str] = "ms"
    better: ClassVar[Better] = Better.LOWER
    yardstick: ClassVar[str] = "a bare consumer"
    repeats: ClassVar[int] = 3
    most_repeats: ClassVar[int] = 5

    @property
    def name(self) -> str:
        return "consume"

    @property
    def events(self) -> int:
        return 1

    def actors(self, place: Place, side: Side) -> Sequence[Actor]:
        place.broker.create(site.measured.name, 2)
        arguments = {"group": place.name, "servers": place.broker.bootstrap_servers, "prefix": place.broker.prefix}
        if side is Side.PRODUCT:
            return [Actor("consume", "benchmarks.product.assignment", arguments, place.env())]
        return [Actor("loop", "benchmarks.handwritten.assignment", arguments)]

    def look(self, place: Place, side: Side, finished: Sequence[Finished]) -> Seen:
        found = finished[0].told["partitions"]
        problems = [] if found == [0, 1] else [f"Kafka has given it the partitions {found} instead of [0, 1]"]
        return Seen({"": duration(finished) * 1000}, problems)


def variants(quick: bool) -> Sequence[Variant]:
    return [WebProcess(1), WebProcess(50), StartOfConsume()]
