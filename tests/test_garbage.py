"""What a command has imported is no garbage: Python does not look through it while events are sent."""

import gc
import io
from typing import Any

import pytest
from django.core.management import call_command

from django_events.producing.catchup import Catchup


def test_catchup_spares_what_there_is_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    spared: list[int] = []

    def run(*_: Any) -> None:
        spared.append(gc.get_freeze_count())

    monkeypatch.setattr(Catchup, "run", run)
    call_command("catchup", stdout=io.StringIO())
    assert min(spared) > 10_000
    assert gc.get_freeze_count() == 0
