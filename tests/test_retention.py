"""A topic that keeps events for longer than it is remembered that they are processed is named."""

import json
import re
import signal
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from django_events import ConsumerGroup, Event, Topic
from django_events.consuming import pruning
from django_events.consuming.pruning import Pruner
from django_events.consuming.service import Service
from django_events.kafka import retention
from tests.broker import Broker
from tests.processes import Site

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("declarations")]

Payload = dict[str, Any]


def run(*arguments: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("events", "prune", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"retention_ms": "86400000"}, None),
        ({"retention_ms": str(30 * 86_400_000)}, None),
        ({"retention_ms": str(31 * 86_400_000)}, "keeps events for 31 days, but.*is 30 days"),
        ({"retention_ms": "-1"}, "keeps events for ever"),
        ({"retention_ms": str(2**63 - 1)}, "keeps events for ever"),
        ({"cleanup_policy": "compact", "retention_ms": "1000"}, "keeps events for ever"),
        ({"cleanup_policy": "compact,delete", "retention_ms": "86400000"}, None),
    ],
)
def test_a_topic_that_keeps_events_for_longer_is_named(
    broker: Broker, config: dict[str, str], said: str | None
) -> None:
    broker.create("orders", 1, **config)
    found = retention.problems(["orders", "missing"], timeout=60)
    if said is None:
        assert not found
    else:
        (text,) = found
        assert re.search(f"^The topic '{broker.prefix}orders' {said}", text), text


def test_nothing_outlives_for_ever(broker: Broker, settings: Any) -> None:
    broker.create("orders", retention_ms="-1")
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "PROCESSED_RETENTION": None}
    assert not retention.problems(["orders"], timeout=60)


def test_only_topics_of_exactly_once_handlers_count() -> None:
    group = ConsumerGroup("kept")
    once, often = Topic("once", Payload), Topic("often", Payload)

    @group.exactly_once(once)
    def book(event: Event[Payload]) -> None: ...

    @group.idempotent(often)
    def note(event: Event[Payload]) -> None: ...

    assert pruning.exactly_once_topics([group]) == {"once"}


def test_a_topic_of_which_only_dead_letters_are_handled_does_not_count_but_its_marks_are_forgotten() -> None:
    doctors = ConsumerGroup("doctors")

    @doctors.exactly_once(Topic("once", Payload), dead_letters_of="patients")
    def look(event: Event[Payload]) -> None: ...

    assert not pruning.exactly_once_topics([doctors])
    assert any(isinstance(each, Pruner) for each in Service([doctors], broadcast=[])._threads)


@pytest.mark.postgres
@pytest.mark.django_db
def test_the_commands_say_so_and_do_not_fail(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "WAIT", 60.0)
    broker.create("ledger.entry-made", retention_ms="-1")
    assert "ledger.entry-made' keeps events for ever" in run()[1]
    assert len(json.loads(run("--json")[0])["warnings"]) == 1
    err = StringIO()
    with pytest.raises(CommandError, match="are missing or differ"):  # other topics; this is not counted
        call_command("events", "topics", "--check", "--timeout=60", stdout=StringIO(), stderr=err)
    assert "keeps events for ever" in err.getvalue()


@pytest.mark.postgres
def test_consume_says_so_and_goes_on(broker: Broker, site: Site) -> None:
    broker.create("ledger.entry-made", retention_ms="-1")
    consume = site.start("consume", "ledger")
    consume.says("ledger.entry-made' keeps events for ever, but the setting PROCESSED_RETENTION is 30 days")
    consume.signal(signal.SIGTERM)
    consume.succeeds()
