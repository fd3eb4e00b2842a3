"""``admin``: pages of the admin over large tables, beside the same pages over small ones."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import psycopg

from benchmarks import checking
from benchmarks.place import Ground, Place
from benchmarks.processes import Actor, Finished
from benchmarks.variant import Better, Seen, Side, Variant

SMALL = 1_000
"""Dead letters of the yard-stick; fewer than a page's window has."""

PAGES = {
    "failures": "failure/",
    "open dead letters": "deadletter/",
    "all of a topic": "deadletter/?state=all&topic=shop.topic-1",
    "search": "deadletter/?q=e-1",
    "one dead letter": "deadletter/{letter}/change/",
    "outgoing events": "outgoingevent/",
    "processed events": "processedevent/",
    "search of processed events": "processedevent/?q=e-7",
}


@dataclass(frozen=True)
class Pages(Variant):
    """So many dead letters, as many outgoing events, and five times as many processed events."""

    letters: int
    times: int
    """Looks at each page in one run."""

    scenario: ClassVar[str] = "admin"
    unit: ClassVar[str] = "ms"
    better: ClassVar[Better] = Better.LOWER
    yardstick: ClassVar[str] = f"{SMALL:,} dead letters"
    yardstick_is_filled: ClassVar[bool] = False
    most_repeats: ClassVar[int] = 2  # each copies some GB

    @property
    def name(self) -> str:
        return f"{self.letters:,} dead letters"

    @property
    def events(self) -> int:
        return self.times * len(PAGES)

    def prepare(self, ground: Ground) -> None:
        _fill(ground.database, self.letters)

    @contextmanager
    def around(self, place: Place, side: Side) -> Iterator[None]:
        if side is Side.HANDWRITTEN:
            _fill(place.database, SMALL)
        yield

    def actors(self, place: Place, side: Side) -> Sequence[Actor]:
        arguments = {"pages": PAGES, "times": self.times}
        return [Actor("site", "benchmarks.product.admin_pages", arguments, place.env())]

    def look(self, place: Place, side: Side, finished: Sequence[Finished]) -> Seen:
        figures = {f"({name})": seconds * 1000 for name, seconds in finished[0].told["seconds"].items()}
        return Seen(figures, _wrong_rows(place, self.letters if side is Side.PRODUCT else SMALL))


def _fill(database: str, letters: int) -> None:
    from tests.big_tables import BIG, filling

    with psycopg.connect(database, autocommit=True) as connection:
        for statement in filling(letters, 5 * letters):
            connection.execute(statement)
        connection.execute("ANALYZE " + ", ".join(BIG))


def _wrong_rows(place: Place, letters: int) -> list[str]:
    """What the tables have too few or too many of: pages over other rows say nothing."""
    wanted = {
        "django_events_deadletter": letters,
        "django_events_outgoingevent": letters,
        "django_events_processedevent": 5 * letters,
    }
    found = {table: checking.rows_left(place, table) for table in wanted}
    return [
        f"{table} has {found[table]:,} rows instead of {count:,}"
        for table, count in wanted.items()
        if found[table] != count
    ]


def variants(quick: bool) -> Sequence[Variant]:
    return [Pages(2_000, 2) if quick else Pages(1_000_000, 10)]
