"""What was broken is whole again before it is judged, also where a server does what it was asked too late."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.chaos import injector as injecting
from tests.chaos.facts import REFUSE, AnyFact, Fault
from tests.chaos.injector import Injector


class Notes:
    def __init__(self) -> None:
        self.facts: list[AnyFact] = []

    def note(self, *facts: AnyFact) -> None:
        self.facts += facts


@pytest.mark.parametrize("is_limited", ["True", "False"])
def test_a_refusal_that_comes_late_is_ended_and_noted(monkeypatch: pytest.MonkeyPatch, is_limited: str) -> None:
    """A node that was cut off passes on what it was asked after another has been asked to end it."""
    asked: list[tuple[str, ...]] = []

    def ask(servers: str, *question: str) -> str:
        asked.append(question)
        return is_limited

    monkeypatch.setattr(injecting, "ask", ask)
    notes, broker = Notes(), SimpleNamespace(bootstrap_servers="kafka:1", prefix="run.")
    injector = Injector(cast(Any, None), {}, cast(Any, broker), "moved", cast(Any, notes))
    assert injector._refuse_no_longer()
    injector.end_late_refusal()
    assert asked[:2] == [("unlimit", "run.moved"), ("is_limited", "run.moved")]
    assert (asked[2:] == [("unlimit", "run.moved")]) == (is_limited == "True")
    assert len(notes.facts) == (is_limited == "True")
    for fact in notes.facts:
        assert isinstance(fact, Fault)
        assert (fact.kind, fact.at < fact.until) == (REFUSE, True)
