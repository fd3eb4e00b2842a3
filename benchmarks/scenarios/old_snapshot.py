"""``old-snapshot``: somebody (a dump, a report) has held a snapshot since before many rows were sent and deleted."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import psycopg

from benchmarks.filling import Load, fill_outbox
from benchmarks.place import OURS, Ground, Place
from benchmarks.processes import Actor, Finished
from benchmarks.scenarios.drain import PARTITIONS, drained_wrongly, drainers
from benchmarks.site import events
from benchmarks.variant import Better, Seen, Side, Variant


@contextmanager
def old_snapshot(place: Place, load: Load, deleted: int) -> Iterator[None]:
    """Inside, so many deleted rows cannot be removed; the rows of the load wait behind them."""
    with psycopg.connect(place.database, application_name=OURS) as holder:
        holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT 1")
        with place.connect() as connection:
            connection.execute(
                "INSERT INTO django_events_outgoingevent (topic, lane, event_id, key, value, headers) "
                r"SELECT %s, n %% 16, n::text, '', '', '\x90' FROM generate_series(1, %s) n",
                [events.measured.name, deleted],
            )
            connection.execute("DELETE FROM django_events_outgoingevent")
        fill_outbox(place.database, load)
        yield
        holder.execute("SELECT 1")  # a failed run unless the snapshot was held until now


@dataclass(frozen=True)
class Behind(Variant):
    """Rows are drained that wait behind many deleted ones; the yard-stick drains as many without the snapshot."""

    load: Load
    deleted: int

    scenario: ClassVar[str] = "old-snapshot"
    unit: ClassVar[str] = "events/s"
    yardstick: ClassVar[str] = "without the snapshot"

    @property
    def name(self) -> str:
        return f"drain behind {self.deleted:,} deleted rows"

    @property
    def events(self) -> int:
        return self.load.events

    @contextmanager
    def around(self, place: Place, side: Side) -> Iterator[None]:
        if side is Side.PRODUCT:
            with old_snapshot(place, self.load, self.deleted):
                yield
        else:
            fill_outbox(place.database, self.load)
            yield

    def actors(self, place: Place, side: Side) -> Sequence[Actor]:
        place.broker.create(events.measured.name, PARTITIONS)
        return drainers(place, Side.PRODUCT, 1)

    def look(self, place: Place, side: Side, finished: Sequence[Finished]) -> Seen:
        seconds = finished[0].ended - finished[0].began
        return Seen({"": self.load.events / seconds}, drained_wrongly(place, self.load))


@dataclass(frozen=True)
class IdleLook(Variant):
    """A look of catch-up that finds nothing, where many deleted rows cannot be removed."""

    deleted: int
    looks: int

    scenario: ClassVar[str] = "old-snapshot"
    unit: ClassVar[str] = "ms"
    better: ClassVar[Better] = Better.LOWER
    yardstick: ClassVar[str] = "without the snapshot"

    @property
    def name(self) -> str:
        return f"idle look over {self.deleted:,} deleted rows"

    @property
    def events(self) -> int:
        return self.looks

    def prepare(self, ground: Ground) -> None:
        fill_outbox(ground.database, Load(0))

    @contextmanager
    def around(self, place: Place, side: Side) -> Iterator[None]:
        if side is Side.PRODUCT:
            with old_snapshot(place, Load(0), self.deleted):
                yield
        else:
            yield

    def actors(self, place: Place, side: Side) -> Sequence[Actor]:
        return [Actor("catchup", "benchmarks.product.idle_looks", {"looks": self.looks}, place.env())]

    def look(self, place: Place, side: Side, finished: Sequence[Finished]) -> Seen:
        seconds = finished[0].ended - finished[0].began
        problems = ["a look has sent something"] if finished[0].told["sent"] else []
        return Seen({"": seconds / self.looks * 1000}, problems)


def variants(quick: bool) -> Sequence[Variant]:
    deleted = 5_000 if quick else 200_000
    return [Behind(Load(1_000 if quick else 50_000), deleted), IdleLook(deleted, looks=20 if quick else 200)]
