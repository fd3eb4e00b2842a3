"""Each line of the log that is about an event says which: group, handler, topic, partition, offset, event id."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from django.utils import timezone

from django_events import ConsumerGroup, Event, OnFailure
from django_events.consuming import slowness
from django_events.consuming.naming import name_at
from django_events.consuming.service import Service
from django_events.kafka import topics
from django_events.models import DeadLetter
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_made
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.usefixtures("declarations")]

Consuming = Callable[..., AbstractContextManager[Service]]

PLACE = "ledger.entry-made[1]@0 (event e-17)"


@pytest.fixture
def one_event(broker: Broker, transactional_db: None) -> None:
    topics.create_missing(["ledger.entry-made"], timeout=60)
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"e-17"), ("ce_source", b"shop")]
    broker.put("ledger.entry-made", b'{"account":"a","number":1}', key=b"a", headers=headers, partition=1)


def test_a_failure_and_what_it_holds_back_name_the_event(
    one_event: None, consuming: Consuming, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slowness, "LONG", 0.1)
    group = ConsumerGroup("naming")

    @group.idempotent(entry_made, on_failure=OnFailure.BLOCK)
    def fail(event: Event[EntryMade]) -> None:
        raise ValueError("no")

    with consuming(group):
        wait_for(lambda: f"Handler naming/fail failed with record {PLACE} (attempt 1)" in caplog.text)
        wait_for(lambda: f"handler naming/fail is not done with {PLACE}" in caplog.text)


def test_a_stuck_handler_names_the_event(
    one_event: None, consuming: Consuming, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slowness, "LONG", 0.1)
    group = ConsumerGroup("naming")

    @group.exactly_once(entry_made)
    def wait(event: Event[EntryMade]) -> None:
        wait_for(lambda: f"Handler naming/wait with record {PLACE} has been running" in caplog.text)

    with consuming(group):
        wait_for(lambda: f"Handler naming/wait with record {PLACE} is not stuck any more" in caplog.text)


def test_a_retried_letter_names_the_event(
    one_event: None, consuming: Consuming, caplog: pytest.LogCaptureFixture
) -> None:
    group = ConsumerGroup("naming")

    @group.idempotent(entry_made, retry=False)
    def fail(event: Event[EntryMade]) -> None:
        raise ValueError("no")

    with consuming(group):
        wait_for(lambda: DeadLetter.objects.update(due_at=timezone.now()))
        wait_for(lambda: f"(record {PLACE}, attempt 2)" in caplog.text)


def test_an_id_from_a_stranger_forges_no_line() -> None:
    assert name_at("t[0]@1", "a\nERROR \x1b[31m") == "t[0]@1 (event a\\nERROR \\x1b[31m)"
    assert len(name_at("t[0]@1", "x" * 10_000)) < 200
