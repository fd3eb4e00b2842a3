"""What can be declared as a broadcast handler, and what a process in which none runs says."""

import os
import subprocess
import sys
import threading
from typing import Any

import pytest
from django.test import Client

from django_events import (
    Batch,
    DeclarationError,
    Event,
    Topic,
    broadcast,
    broadcast_is_live,
    broadcast_latency,
    broadcasting,
    start_broadcast,
    web,
)
from django_events.checks import check_declarations
from django_events.consuming.broadcast import Broadcast
from tests.ledger.events import EntryMade, entry_closed, entry_made
from tests.processes import ROOT

pytestmark = pytest.mark.usefixtures("declarations")


def test_a_declaration_keeps_the_function_and_what_was_said() -> None:
    @broadcast(entry_made, entry_closed, batch=Batch(size=5), timeout=7, name="other", on_gap=print)
    def note(events: list[Event[EntryMade]]) -> None: ...

    (declared,) = broadcasting.declared()
    assert (declared.name, declared.on_gap, str(declared)) == ("other", print, "broadcast/other")
    assert declared.handler.function.__name__ == "note"
    assert [*declared.handler.sources] == ["ledger.entry-made", "ledger.entry-closed"]
    assert declared.handler.policy.timeout == 7
    assert check_declarations(None) == []


def test_a_handler_that_says_nothing_is_tried_for_half_a_minute() -> None:
    broadcast(entry_made, timeout=None, name="note")(print)  # type: ignore[call-overload]
    assert broadcasting.declared()[0].handler.policy.timeout == 30


@pytest.mark.parametrize(
    ("topics", "options", "said"),
    [
        ((), {}, "is declared for no topic; give it a Topic"),
        (("ledger.entry-made",), {}, "is declared for 'ledger.entry-made'; give it a Topic"),
        (
            (entry_made,),
            {"on_failure": 1},
            "is declared with on_failure=, which is no option. Use batch, name, timeout",
        ),
        ((entry_made,), {"timeout": 0}, "A handler of broadcast events: timeout is 0"),
        ((entry_made,), {"batch": 5}, "batch is 5"),
        ((entry_made,), {"on_gap": 5}, "is 5; decorate a function"),
        ((entry_made,), {"name": "a b"}, "has the name 'a b'"),
        ((entry_made,), {"name": "taken"}, "are named 'taken'"),
    ],
)
def test_what_cannot_be_is_refused(topics: tuple[Any, ...], options: dict[str, Any], said: str) -> None:
    broadcast(entry_made, name="taken")(print)
    with pytest.raises(DeclarationError, match=said):
        decorate: Any = broadcast(*topics, **options)
        decorate(repr)


def test_a_coroutine_is_refused() -> None:
    with pytest.raises(DeclarationError, match="of broadcast events is a coroutine"):

        @broadcast(entry_made)  # type: ignore[arg-type]
        async def note(event: Event[EntryMade]) -> None: ...


def test_a_prefix_that_makes_the_name_of_the_heartbeats_topic_too_long_is_found(settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "PREFIX": "p" * 215}
    assert not [each for each in check_declarations(None) if "heartbeat" in each.msg]
    broadcast(Topic("t", dict), name="note")(print)
    assert [each.id for each in check_declarations(None) if "heartbeat" in each.msg] == ["django_events.E006"]


def test_the_health_of_a_name_that_is_none_is_refused() -> None:
    broadcast(entry_made, name="note")(print)
    with pytest.raises(DeclarationError, match="No broadcast handler is named 'nobody'. Those that run here: note"):
        Broadcast(broadcasting.declared()).latency("nobody")


def test_where_nothing_runs_nothing_is_live() -> None:
    assert not broadcast_is_live()
    assert broadcast_latency() == float("inf")


def test_under_a_test_runner_nothing_starts(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {*threading.enumerate()}  # threads of an earlier test may be about to end
    monkeypatch.setattr(web, "_wish", web._Wish())
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "START_BROADCAST": True}
    broadcast(entry_made, name="note")(print)
    Client().get("/nowhere")
    assert web._wish.is_done
    start_broadcast()
    assert not broadcast_is_live()
    new = {*threading.enumerate()} - before
    assert not [each.name for each in new if each.name.startswith("django-events")]


def test_importing_loads_neither_librdkafka_nor_models() -> None:
    code = "import sys, django_events; print({'confluent_kafka', 'django_events.models'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
