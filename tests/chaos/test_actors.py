"""What is done to a process of a run at the wrong moment does no harm: the run may be late with its faults."""

from pathlib import Path

import pytest

from tests.chaos.actors import Actor
from tests.chaos.facts import Began
from tests.chaos.history import History
from tests.waiting import wait_for


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "history.jsonl")


def test_a_dead_process_is_neither_frozen_nor_started_twice(tmp_path: Path, history: History) -> None:
    actor = Actor("web-1", ["shell", "-c", "import time; time.sleep(600)"], {}, tmp_path, history)
    actor.freeze()
    actor.thaw()
    actor.start()
    try:
        wait_for(lambda: actor.runs)
        actor.kill()
        actor.freeze()
        actor.start_again()
        first = actor.process
        actor.start_again()
        assert actor.process is first
        actor.thaw()
    finally:
        actor.end()
        history.close()
    assert sum(isinstance(fact, Began) for fact in history.read()) == 2
