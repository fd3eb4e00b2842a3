"""SIGKILL at every crash point, one after the other: the process is started again, and the history must be good.

With ``--all`` also at each alone and in pairs.
"""

from collections.abc import Sequence
from itertools import pairwise

import pytest

from django_events import crash_points
from tests.chaos.scenario import PARTITIONS
from tests.chaos.small_run import SmallRun

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

VICTIMS = {
    "row-inserted": "web-1",
    "committed-before-wake": "web-1",
    "lane-found-taken": "web-1",
    "lanes-locked": "web-1",
    "produced-not-acknowledged": "web-1",
    "acknowledged-not-deleted": "web-1",
    "deleted-not-committed": "web-1",
    "record-polled": "books-1",
    "processed-row-inserted": "books-1",
    "handler-returned": "books-1",
    "handler-committed": "books-1",
    "dead-letter-written": "shaky-1",
    "before-offset-commit": "books-1",
    "revoked-not-committed": "books-1",
    "stopped-not-committed": "books-1",
    "dead-letters-projected": "shaky-1",
    "dead-letter-leased": "shaky-1",
    "dead-letter-tried": "shaky-1",
}
"""Who is killed at each point."""

SERIES = {
    "of a sender": [
        "row-inserted",
        "committed-before-wake",
        "lane-found-taken",
        "lanes-locked",
        "produced-not-acknowledged",
        "acknowledged-not-deleted",
        "deleted-not-committed",
    ],
    "of a consumer": [
        "record-polled",
        "before-offset-commit",
        "processed-row-inserted",
        "handler-returned",
        "handler-committed",
        "revoked-not-committed",
        "stopped-not-committed",
    ],
    "with dead letters": ["dead-letter-written", "dead-letters-projected", "dead-letter-leased", "dead-letter-tried"],
    "of one after the other": [
        "acknowledged-not-deleted",
        "handler-committed",
        "deleted-not-committed",
        "before-offset-commit",
        "dead-letter-written",
    ],
}
"""All points, and each pair next to each other."""

PAIRS = [
    ("produced-not-acknowledged", "acknowledged-not-deleted"),
    ("acknowledged-not-deleted", "handler-committed"),
    ("deleted-not-committed", "before-offset-commit"),
    ("processed-row-inserted", "handler-returned"),
    ("handler-committed", "revoked-not-committed"),
    ("revoked-not-committed", "stopped-not-committed"),
    ("before-offset-commit", "dead-letter-written"),
    ("dead-letter-written", "dead-letters-projected"),
    ("dead-letter-leased", "dead-letter-tried"),
]

FEW = [*((point,) for point in VICTIMS), *PAIRS]
"""They tell which crash of a series it was that has broken something."""

OTHERS = ("web-2", "catchup-1")
"""Actors that nothing happens to; the victims are started beside them."""


def test_every_crash_point_has_its_victim_and_is_in_a_series_as_every_pair_is() -> None:
    assert set(VICTIMS) == set(crash_points.POINTS) == {point for points in SERIES.values() for point in points}
    assert set(PAIRS) <= {pair for points in SERIES.values() for pair in pairwise(points)}


def crash(run: SmallRun, *points: str) -> None:
    """Kill at one point after the other, each process as soon as the one before is dead."""
    for point in points:
        with run.crashing(VICTIMS[point], point) as victim:
            if point == "stopped-not-committed":
                victim.process.says("got")
                victim.wish_end()
            elif point == "revoked-not-committed":
                victim.process.says(", ".join(f"moved[{number}]" for number in range(PARTITIONS)))  # it has all
                run.start("books-2", is_spared=True)
    for name in {VICTIMS[point] for point in points}:
        run.start(name, is_spared=True)


@pytest.mark.parametrize(
    "points",
    [
        *(pytest.param(points, id=name) for name, points in SERIES.items()),
        *(pytest.param(points, id="+".join(points), marks=pytest.mark.long) for points in FEW),
    ],
)
def test_nothing_is_lost_doubled_or_reordered_by_crashes(run: SmallRun, points: Sequence[str]) -> None:
    for name in {*OTHERS, *VICTIMS.values()} - {VICTIMS[point] for point in points}:
        run.start(name, is_spared=True)
    crash(run, *points)
    run.lease_no_longer()
    run.settle()
    violations = run.violations()
    assert not violations, "\n\n".join(violations)
