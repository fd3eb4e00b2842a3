"""``manage.py events status`` says what waits and what failed."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction

from django_events.models import COUNTED, OutgoingEvent
from tests.ledger.events import EntryMade, entry_closed, entry_made
from tests.letters import a_letter, project

pytestmark = pytest.mark.django_db


def status(*arguments: str) -> str:
    output = StringIO()
    call_command("events", "status", *arguments, stdout=output)
    return output.getvalue()


def save(number: int) -> None:
    with transaction.atomic():
        for each in range(number):
            entry_made.send(EntryMade("ann", each), key=str(each))
        entry_closed.send(EntryMade("ann", 1), key="a")


def test_nothing_is_wrong() -> None:
    assert status() == "The outbox is empty.\n\nNo dead letter is open.\n"


def test_what_waits_what_is_set_aside_and_what_failed() -> None:
    save(3)
    OutgoingEvent.objects.set_aside({OutgoingEvent.objects.earliest("pk").pk: "too large"}, "default")
    project(*[a_letter(key=None) for _ in range(2)], a_letter(exception="KeyError", message="\x1b[2J<b>"))
    text = status()
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["DATABASE", "TOPIC", "WAITING", "OLDEST", "SET", "ASIDE"]
    assert [(line[1], line[2], line[-1]) for line in lines[1:3]] == [
        ("ledger.entry-closed", "1", "0"), ("ledger.entry-made", "2", "1")]  # fmt: skip
    assert lines[5][:3] == ["2", "clinic/cure", "ledger.entry-made"]
    assert "send it again or discard it" in text
    assert "\x1b" not in text


def test_a_program_gets_json() -> None:
    save(1)
    project(a_letter())
    found = json.loads(status("--json"))
    assert {row["topic"]: row["waiting"] for row in found["outbox"]} == {
        "ledger.entry-closed": 1, "ledger.entry-made": 1}  # fmt: skip
    assert found["failures"][0]["open_letters"] == 1


def test_a_long_queue_is_not_counted_to_its_end(monkeypatch: Any) -> None:
    monkeypatch.setattr("django_events.models.outbox.COUNTED", 5)
    monkeypatch.setattr("django_events.management.status.COUNTED", 5)
    save(20)
    assert "4+" in status()
    assert COUNTED > 10_000
