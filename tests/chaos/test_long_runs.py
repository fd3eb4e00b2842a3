"""Runs that take minutes: faults on three nodes, planted bugs, and consumers that come and go without rest."""

import random
import subprocess
import sys
import time

import pytest

from tests.chaos.small_run import SmallRun
from tests.processes import ROOT

pytestmark = [pytest.mark.long, pytest.mark.kafka, pytest.mark.postgres]

STORM = 60.0
"""Seconds of two consumers that join and leave."""

REPEATED = ("repeated_calls_are_explained", "repeated_letters_are_explained")
"""Rules that allow repetitions after faults only."""

IN_FLIGHT = 8
"""Events that the workers of a group have at once in one process."""

REPLACED = 30
"""Processes of one group that are replaced, one after the other."""


@pytest.mark.parametrize("arguments", [
    pytest.param(("--seed", "11", "--seeds", "3"), id="three seeds"),
    pytest.param(("--seed", "1", "--scenario", "kills"), id="20,000 events and kills"),
    pytest.param(("--seed", "1", "--planted"), id="every planted bug is caught"),
])  # fmt: skip
def test_faults_on_three_nodes(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout


BOTH_PROTOCOLS = pytest.mark.parametrize("run", ["cooperative-sticky", "consumer"], indirect=True)


@BOTH_PROTOCOLS
def test_two_that_join_and_leave_for_a_minute(run: SmallRun) -> None:
    """Effects happen once. An offset has no gaps, so what was handled behind an event that was not begun is handled
    again: by idempotent handlers that never fail, no more than what is in flight at each change."""
    for name in ("web-1", "web-2", "catchup-1", "all-1", "all-2", "all-3"):
        run.start(name)
    draw = random.Random(2)
    end = time.monotonic() + STORM
    changes = 0
    while time.monotonic() < end:
        first, second = draw.sample(["all-2", "all-3"], 2)
        for change, name in ((run.stop, first), (run.stop, second), (run.start, first), (run.start, second)):
            time.sleep(draw.uniform(0.0, 2.0))  # in which events flow; nothing waits for it
            change(name)
            changes += 1
    run.settle()
    violations = run.violations()
    broken = [each for each in violations if not each.startswith(REPEATED)]
    assert not broken, "\n\n".join(broken)
    repeated = [each for each in violations if each.startswith(f"{REPEATED[0]}: watch/look ")]
    assert len(repeated) <= changes * IN_FLIGHT, "\n\n".join(repeated)


@BOTH_PROTOCOLS
def test_a_storm_of_rebalances_and_kills(run: SmallRun) -> None:
    group = [f"books-{number}" for number in range(1, 5)]
    for name in ("web-1", "web-2", "catchup-1", "shaky-1", *group):
        run.start(name)
    draw = random.Random(1)
    for _ in range(REPLACED):
        run.replace(draw.choice(group), by_kill=draw.random() < 0.5)
    run.settle()
    violations = run.violations()
    assert not violations, "\n\n".join(violations)
