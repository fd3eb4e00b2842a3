"""Marks of processed events are forgotten after PROCESSED_RETENTION, a few at a time."""

import json
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from django_events import models
from django_events.consuming import pruning
from django_events.consuming.pruning import Pruner
from django_events.exceptions import BrokerUnavailable
from django_events.kafka import retention
from django_events.models import DeadLetter, ProcessedEvent, State
from django_events.models.pruning import _prepare, oldest
from tests.letters import a_letter, project
from tests.waiting import wait_for

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


def mark(event_id: str, days: float, key: uuid.UUID | None = None) -> None:
    """A mark that was made so many days ago."""
    made = timezone.now() - timedelta(days=days)
    ProcessedEvent.objects.create(key=key or uuid.uuid4(), event_id=event_id, processed_at=made)


def remembered() -> set[str]:
    return set(ProcessedEvent.objects.values_list("event_id", flat=True))


def run(*arguments: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("events", "prune", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.fixture(autouse=True)
def without_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "problems", lambda *_: [])


def test_what_is_older_than_the_setting_is_forgotten() -> None:
    for number in range(5):
        mark(f"old-{number}", 31)
    mark("young", 29)
    assert run("--dry-run")[0].startswith("5 processed events would be forgotten")
    assert len(remembered()) == 6
    assert run()[0].startswith("5 processed events forgotten, from before")
    assert remembered() == {"young"}
    assert run()[0].startswith("0 processed events forgotten")


def test_each_transaction_forgets_a_few_the_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for days in (33, 31, 34, 32):
        mark(f"{days}", days)
    monkeypatch.setattr(pruning, "AT_ONCE", 3)
    steps = pruning.prune(timezone.now() - timedelta(days=30))
    assert next(steps) == 3
    assert remembered() == {"31"}
    assert list(steps) == [1]


def test_none_remembers_for_ever(settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "PROCESSED_RETENTION": None}
    mark("old", 9999)
    assert "remembered for ever" in run()[0]
    assert remembered() == {"old"}


def test_the_setting_says_how_long(settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "PROCESSED_RETENTION": timedelta(hours=1)}
    mark("old", 2 / 24)
    mark("young", 0.5 / 24)
    run()
    assert remembered() == {"young"}


def test_marks_that_an_open_letter_may_need_stay_until_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    open_letter, closed = a_letter(), a_letter()
    project(open_letter, closed)
    mark("open", 100, open_letter.event_key)
    mark("closed", 99, closed.event_key)
    DeadLetter.objects.filter(event_key=closed.event_key).update(state=State.RESOLVED)
    monkeypatch.setattr(pruning, "AT_ONCE", 1)
    assert run()[0].startswith("1 processed event forgotten")
    assert remembered() == {"open"}
    DeadLetter.objects.update(state=State.DISCARDED)
    run()
    assert remembered() == set()


def test_what_another_transaction_has_locked_is_passed_over() -> None:
    mark("locked", 99)
    mark("free", 98)
    with held_locked("locked"):
        assert run()[0].startswith("1 processed event forgotten")
        assert remembered() == {"locked"}
    assert run()[0].startswith("1 processed event forgotten")


def test_a_program_gets_json() -> None:
    mark("old", 99)
    found = json.loads(run("--json")[0])
    assert (found["pruned"], found["dry_run"], found["warnings"]) == (1, False, [])
    assert found["before"] < timezone.now().isoformat()


def test_a_signal_ends_it_after_a_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    def prune(*arguments: Any) -> Iterator[int]:
        while True:
            os.kill(os.getpid(), signal.SIGTERM)
            yield 1

    monkeypatch.setattr(models, "prune", prune)
    with pytest.raises(CommandError, match="Stopped. Run it again for the rest"):
        run()


class held_locked:
    """Inside, a transaction of another connection has locked the mark of this event."""

    def __init__(self, event_id: str) -> None:
        self._event_id = event_id
        self._locked, self._done = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            with transaction.atomic():
                ProcessedEvent.objects.select_for_update().get(event_id=self._event_id)
                self._locked.set()
                self._done.wait(60)
        finally:
            connection.close()

    def __enter__(self) -> None:
        self._thread.start()
        assert self._locked.wait(60)

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


@pytest.mark.parametrize("analyzed", ["never", "empty", "full"])
def test_a_transaction_reads_no_more_marks_than_it_forgets(analyzed: str) -> None:
    marks = ProcessedEvent._meta.db_table
    with connection.cursor() as cursor:
        if analyzed == "empty":
            cursor.execute(f"ANALYZE {marks}")
        cursor.execute(
            f'INSERT INTO {marks} ("key", topic, source, event_id, group_name, handler, processed_at) '
            "SELECT gen_random_uuid(), '', '', n::text, '', '', now() - make_interval(days => 40, secs => n) "
            "FROM generate_series(1, 50000) n"
        )
        if analyzed == "full":
            cursor.execute(f"ANALYZE {marks}")
    with transaction.atomic():
        _prepare("default")
        rows = oldest(timezone.now() - timedelta(days=30), 100, "default")
        (plan,) = json.loads(rows.explain(format="json", analyze=True))
    scans = [node for node in nodes(plan["Plan"]) if "Scan" in node["Node Type"]]
    assert {scan["Node Type"] for scan in scans} <= {"Index Scan", "Index Only Scan"}, scans
    assert sum(scan["Actual Rows"] * scan["Actual Loops"] for scan in scans) == 100


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


@pytest.fixture
def start() -> Iterator[Callable[[], Pruner]]:
    started: list[Pruner] = []

    def start() -> Pruner:
        started.append(Pruner([], [], lambda _: None, first=0.0, every=0.05))
        started[-1].start()
        return started[-1]

    yield start
    for pruner in started:
        pruner.stop(0)
        pruner.join(60)
        assert not pruner.is_alive()


def test_it_prunes_again_and_again(start: Callable[[], Pruner]) -> None:
    start()
    for event_id in ("first", "second"):
        mark(event_id, 99)
        wait_for(lambda: not remembered())


def test_several_share_the_work(start: Callable[[], Pruner], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "AT_ONCE", 2)
    monkeypatch.setattr(pruning, "PAUSE", 0.001)
    for number in range(40):
        mark(f"{number}", 99)
    mark("young", 1)
    pruners = [start() for _ in range(3)]
    wait_for(lambda: remembered() == {"young"})
    assert all(pruner.is_alive() for pruner in pruners)


def test_what_topics_keep_too_long_is_said_once_kafka_has_told_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    outage = iter([True])
    said: list[str] = []

    def sometimes(*_: object) -> list[str]:
        if next(outage, False):
            raise BrokerUnavailable("Kafka is away")
        return ["orders keeps events for ever"]

    monkeypatch.setattr(retention, "problems", sometimes)
    pruner = Pruner([], [], said.append, first=0.0, every=0.01)
    pruner.start()
    wait_for(lambda: said)
    pruner.stop(0)
    pruner.join(60)
    assert said == ["orders keeps events for ever"]
    assert "How long topics keep their events is not known: Kafka is away. It is tried again later" in caplog.text


def test_an_outage_is_waited_out(
    start: Callable[[], Pruner], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    prune, outage = models.prune, iter([True])

    def sometimes(*arguments: Any) -> Iterator[int]:
        if next(outage, False):
            raise DatabaseError("away")
        return prune(*arguments)

    monkeypatch.setattr(models, "prune", sometimes)
    mark("old", 99)
    start()
    wait_for(lambda: not remembered())
    assert "Old processed events are not pruned: away. It is tried again later" in caplog.text
