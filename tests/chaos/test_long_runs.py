"""Runs that take minutes: seeds of faults on three nodes, and consumers that come and go without rest."""

import random
import subprocess
import sys

import pytest

from tests.chaos.small_run import SmallRun
from tests.processes import ROOT

pytestmark = [pytest.mark.long, pytest.mark.kafka, pytest.mark.postgres]

REPLACED = 30
"""Processes of one group that are replaced, one after the other."""


def test_seeds_of_faults_on_three_nodes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--seed", "11", "--seeds", "3"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_a_storm_of_rebalances(run: SmallRun) -> None:
    group = [f"books-{number}" for number in range(1, 5)]
    for name in ("web-1", "web-2", "catchup-1", "shaky-1", *group):
        run.start(name)
    draw = random.Random(1)
    for _ in range(REPLACED):
        run.replace(draw.choice(group), by_kill=draw.random() < 0.5)
    run.settle()
    violations = run.violations()
    assert not violations, "\n\n".join(violations)
