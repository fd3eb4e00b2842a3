"""Every process that sends or handles has a row that tells what it does, and none is harmed by it."""

import logging
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.core import mail
from django.db import connection
from django.db.models.functions import Now

from django_events import ConsumerGroup, Event, OnFailure, registry
from django_events.consuming.service import Service
from django_events.models import Beat, Kind, Process, processes
from django_events.presence import activity, beating, presence
from django_events.presence.activity import Activity, GroupActivity, Running
from django_events.presence.presence import Presence
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_closed, entry_made
from tests.processes import ROOT, Site
from tests.waiting import wait_for

TABLE = Process._meta.db_table

SENDER = """
import signal, sys, time
from django.db import transaction
from tests.ledger.events import EntryMade, entry_made
with transaction.atomic():
    entry_made.send(EntryMade("ann", 1), key="ann")
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
time.sleep(600)
"""

FORKS = """
import os, time
from django.db import connections, transaction
from tests.ledger.events import EntryMade, entry_made
def send():
    with transaction.atomic():
        entry_made.send(EntryMade("ann", 1), key="ann")
send()
time.sleep(2)
connections.close_all()
if os.fork() == 0:
    time.sleep(2)
    send()
time.sleep(600)
"""

IN_NO_TEST = pytest.mark.usefixtures("in_no_test")


class Doing:
    """A part of a process that says what it is told to say."""

    def __init__(self, kind: Kind = Kind.CATCHUP, told: Activity = Activity()) -> None:  # noqa: B008
        self.kind = kind
        self.told = told

    def activity(self) -> Activity:
        return self.told


@pytest.fixture
def in_no_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no test runner ran, and time went faster."""
    monkeypatch.delattr(mail, "outbox")
    monkeypatch.setattr(beating, "FIRST", 0.01)
    monkeypatch.setattr(beating, "INTERVAL", 0.05)
    monkeypatch.setattr(beating, "OUTAGE", replace(beating.OUTAGE, first=0.05, max=0.05))
    monkeypatch.setattr(presence, "FAREWELL", 60.0)  # but not for a slow machine


@pytest.fixture
def ours(transactional_db: None, in_no_test: None) -> Iterator[Presence]:
    """What a process says of itself that does nothing yet."""
    ours = Presence()
    yield ours
    ours.end()


def rows(**chosen: Any) -> list[Process]:
    return list(Process.objects.filter(**chosen))


def told(row: Process) -> Activity:
    found = activity.decode(row.activity)
    assert found
    return found


# ── real processes ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.kafka
@pytest.mark.postgres
def test_consume_catchup_and_a_sender_have_rows_as_long_as_they_run(site: Site, broker: Broker) -> None:
    broker.create("ledger.entry-made")
    patient = {"FAREWELL": "60"}  # a row that could not be deleted in 2 s is left, and a busy machine may need more
    started = {
        Kind.CONSUME: site.start("consume", "ledger", "audit", **patient),
        Kind.CATCHUP: site.start("catchup", **patient),
        Kind.RELAY: site.start("shell", "-v0", "-c", SENDER, **patient),
    }
    wait_for(lambda: {row.kind for row in rows()} == {*started})
    found = {row.kind: row for row in rows()}
    assert {kind: row.pid for kind, row in found.items()} == {kind: each.pid for kind, each in started.items()}
    wait_for(lambda: told(rows(kind=Kind.CONSUME)[0]).groups[0].partitions)
    consumes = told(rows(kind=Kind.CONSUME)[0])
    assert {group.name: group.state for group in consumes.groups} == {"audit": "runs", "ledger": "runs"}
    assert "ledger.entry-made" in consumes.groups[0].partitions
    assert {*consumes.declared} >= {"audit", "clinic", "ledger"}, "also what it does not run"
    assert told(found[Kind.CATCHUP]).declared == told(found[Kind.RELAY]).declared == consumes.declared
    assert [told(found[kind]).sends for kind in started] == [False, True, True]
    first = found[Kind.CATCHUP].seen_at
    wait_for(lambda: rows(kind=Kind.CATCHUP)[0].seen_at > first)
    for process in started.values():
        process.signal(signal.SIGTERM)
    wait_for(lambda: not rows())
    assert [process.ends() for process in started.values()] == [0, 0, 0]


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_killed_process_grows_silent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    process = site.start("catchup")
    wait_for(lambda: rows())
    process.kill()
    wait_for(lambda: Process.objects.known("default")[0].silent_for > timedelta(seconds=0.5))
    assert rows()[0].pid == process.pid


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_child_has_a_row_of_its_own_once_it_sends(site: Site, broker: Broker) -> None:
    broker.create("ledger.entry-made")
    process = site.start("shell", "-v0", "-c", FORKS)
    wait_for(lambda: len(rows()) == 2)
    assert len({row.pid for row in rows()}) == 2
    assert process.pid in {row.pid for row in rows()}


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_missing_table_is_one_line_in_the_log_and_harms_nothing(site: Site, broker: Broker) -> None:
    broker.create("ledger.entry-made")
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {TABLE} RENAME TO hidden")
    try:
        process = site.start("catchup")
        process.says("Writing the row of this process")
        site.run("make_entries", "--entries=3", SEND_AFTER_COMMIT="0")
        wait_for(lambda: len({record.id for record in broker.read("ledger.entry-made")}) == 3)
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE hidden RENAME TO {TABLE}")
    process.says("works again")
    wait_for(lambda: rows(pid=process.pid))
    assert process.output.count("(run `manage.py migrate`)") == 1


# ── one process ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.postgres
def test_a_process_has_one_row_for_all_it_does(ours: Presence) -> None:
    consumes = Doing(Kind.CONSUME, Activity(groups=(GroupActivity(name="billing", state="runs"),)))
    relays = Doing(Kind.RELAY, Activity(sends=True, troubles=("Kafka is away",)))
    ours.declared = {"billing": {"make_invoice": "1"}}
    ours.enter(relays)
    wait_for(lambda: rows(kind=Kind.RELAY))
    ours.enter(consumes)
    ours.enter(consumes)
    (row,) = wait_for(lambda: rows(kind=Kind.CONSUME))
    assert told(row).sends
    assert told(row).troubles == ("Kafka is away",)
    assert [group.name for group in told(row).groups] == ["billing"]
    assert told(row).declared == {"billing": {"make_invoice": "1"}}
    ours.leave(consumes)
    wait_for(lambda: rows(kind=Kind.RELAY))
    ours.leave(relays)
    assert not rows()
    ours.enter(relays)
    wait_for(lambda: rows(kind=Kind.RELAY))


@pytest.mark.postgres
def test_it_goes_on_after_an_outage_and_says_so_once(
    ours: Presence, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat, tries = Process.objects.beat, []

    def fail(*given: Any) -> None:
        tries.append(given)
        raise OSError("away")

    monkeypatch.setattr(Process.objects, "beat", fail)
    with caplog.at_level(logging.WARNING, "django_events.presence"):
        ours.enter(Doing())
        wait_for(lambda: len(tries) > 3)
        monkeypatch.setattr(Process.objects, "beat", beat)
        wait_for(lambda: rows())
        wait_for(lambda: len(caplog.records) == 2)
    assert "OSError('away')" in caplog.messages[0]
    assert "works again" in caplog.messages[1]


@pytest.mark.postgres
def test_a_part_that_cannot_tell_harms_nothing(ours: Presence, caplog: pytest.LogCaptureFixture) -> None:
    class Wrong(Doing):
        def activity(self) -> Activity:
            raise RuntimeError("no")

    wrong = Wrong()
    with caplog.at_level(logging.WARNING, "django_events.presence"):
        ours.enter(wrong)
        wait_for(lambda: caplog.records)
        ours.leave(wrong)


@IN_NO_TEST
def test_a_site_without_tables_has_no_thread_and_no_row(settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "DATABASES": []}
    ours = Presence()
    ours.enter(Doing())
    assert not threads()


def test_nothing_is_written_under_a_test_runner() -> None:
    ours = Presence()
    ours.enter(Doing())
    assert not threads()


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == "django-events-presence"]


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_service_tells_what_it_runs(broker: Broker, consuming: Any, declarations: None) -> None:
    broker.create("ledger.entry-made")
    group = ConsumerGroup("told")
    begun, go_on = threading.Event(), threading.Event()

    @group.idempotent(entry_made)
    def wait(event: Event[EntryMade]) -> None:
        begun.set()
        go_on.wait(60)

    with consuming(group) as service:
        assert isinstance(service, Service)
        broker.put("ledger.entry-made", b'{"account":"ann","number":1}', key=b"ann", headers=[("ce_id", b"e-1")])
        try:
            assert begun.wait(60)
            wait_for(lambda: service.activity().oldest)
            found = service.activity()
        finally:
            go_on.set()
    (only,) = found.groups
    assert (only.name, only.state) == ("told", "runs")
    assert only.partitions["ledger.entry-made"]
    assert found.oldest
    assert (found.oldest.handler, found.oldest.event_id) == ("told/wait", "e-1")
    assert found.declared == registry.digests([group])
    assert service.kind is Kind.SERVICE


# ── the rows ─────────────────────────────────────────────────────────────────────────────────────────────────────


def save(silent: timedelta = timedelta(0), **changes: Any) -> uuid.UUID:
    """A row of a process that has been silent for so long."""
    key = uuid.uuid4()
    beat = Beat(Kind.CATCHUP, "host", 7, "1.0", 3.0, {})._replace(**changes)
    Process.objects.beat(key, beat, "default")
    Process.objects.filter(pk=key).update(seen_at=Now() - silent)
    return key


@pytest.mark.django_db
def test_ages_are_by_the_clock_of_the_database() -> None:
    save(timedelta(seconds=100), age=500.0)
    ((_, silent_for, age),) = Process.objects.known("default")
    assert silent_for >= timedelta(seconds=100)
    assert age >= timedelta(seconds=500)


@pytest.mark.django_db
def test_renewing_a_row_costs_one_statement(django_assert_num_queries: Any) -> None:
    key = save()
    with django_assert_num_queries(1):
        Process.objects.beat(key, Beat(Kind.CONSUME, "host", 7, "1.0", 3.0, {}), "default")


@pytest.mark.django_db
def test_rows_of_processes_that_are_no_more_are_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MOST_SILENT", 2)
    save(timedelta(hours=2))
    silent = [save(timedelta(minutes=minutes)) for minutes in (2, 3, 4)]
    alive = [save() for _ in range(4)]
    assert Process.objects.prune("default") == 2
    assert {row.pk for row in rows()} == {*alive, *silent[:2]}


@pytest.mark.postgres
def test_whoever_beats_deletes_them(ours: Presence) -> None:
    old = save(timedelta(hours=2))
    ours.enter(Doing())
    wait_for(lambda: rows() and old not in {row.pk for row in rows()})


def test_a_row_stays_small_whatever_there_is_to_tell() -> None:
    groups = tuple(
        GroupActivity(name=f"group-{n}", state="runs", partitions={f"topic-{m}": "0-99" for m in range(100)})
        for n in range(100)
    )
    known = {f"group-{n}": {f"handler-{m}": "12345678" for m in range(50)} for n in range(100)}
    whole = activity.joined([Activity(groups=groups, sends=True, troubles=("x" * 10_000,) * 100)], known)
    facts = activity.encode(whole)
    assert len(msgspec.json.encode(facts)) <= activity.MOST
    found = activity.decode(facts)
    assert found
    assert found.is_cut
    assert {*found.declared} == {*known}
    huge = replace(whole, declared={f"group-{n}": {} for n in range(10_000)})
    assert len(msgspec.json.encode(activity.encode(huge))) <= activity.MOST


def test_what_another_version_has_written_is_no_error() -> None:
    assert activity.decode({"groups": 7}) is None
    assert activity.decode({"sends": True, "news": 1}) == Activity(sends=True)
    whole = Activity(oldest=Running(handler="a/b", event_id="e", seconds=1.0), declared={"a": {"b": "1"}})
    assert activity.decode(activity.encode(whole)) == whole


def test_partitions_are_written_as_people_do() -> None:
    assert activity.ranges([7, 0, 1, 3, 2]) == "0-3, 7"
    assert activity.ranges([]) == ""
    assert len(activity.ranges(range(0, 10_000, 2))) == activity.LONGEST


def declare(group: ConsumerGroup, topic: Any = entry_made, **options: Any) -> None:
    @group.idempotent(topic, **options)
    def note(event: Event[EntryMade]) -> None: ...


def test_digests_tell_declarations_apart(declarations: None) -> None:
    declare(same := ConsumerGroup("same"))
    declare(again := ConsumerGroup("again"))
    declare(saves := ConsumerGroup("saves"), on_failure=OnFailure.SAVE)
    declare(other := ConsumerGroup("other"), entry_closed)
    declare(never := ConsumerGroup("never"), never_retry=(KeyError,))
    found = registry.digests([same, again, saves, other, never])
    assert found["same"] == found["again"]
    assert len({handlers["note"] for handlers in found.values()}) == 4


def test_digests_are_the_same_in_each_process() -> None:
    code = (
        "import django; django.setup(); from django_events import handlers, registry; "
        "print(registry.digests(handlers.declared()))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_silence_is_several_beats() -> None:
    assert processes.SILENT.total_seconds() > 4 * beating.INTERVAL
