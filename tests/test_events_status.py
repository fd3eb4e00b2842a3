"""``manage.py events status`` says what is wrong and what to do, what waits, who runs, and what failed."""

import io
import json
import signal
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.db.models.functions import Now

from django_events import ConsumerGroup, Event, registry
from django_events.consuming.service import Service
from django_events.exceptions import KafkaRefused
from django_events.kafka import consumer_groups, topics
from django_events.models import COUNTED, Beat, DeadLetter, Kind, OutgoingEvent, Process, processes
from django_events.presence import activity
from django_events.presence.activity import Activity, GroupActivity, Running
from django_events.status import gathering
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_closed, entry_made
from tests.letters import a_letter, project
from tests.processes import Site
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db

Consuming = Callable[..., AbstractContextManager[Service]]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """No table is cut, whatever terminal the tests run in."""
    monkeypatch.setenv("COLUMNS", "200")


def status(*arguments: str) -> str:
    output = io.StringIO()
    call_command("events", "status", *arguments, stdout=output, stderr=io.StringIO())
    return output.getvalue()


def found() -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(status("--json"))
    return facts


def texts() -> str:
    """What is wrong, each with its severity and its command."""
    return "\n".join(f"{each['severity']} {each['what']} → {each['command']}" for each in found()["findings"])


def save(number: int) -> None:
    with transaction.atomic():
        for each in range(number):
            entry_made.send(EntryMade("ann", each), key=str(each))
        entry_closed.send(EntryMade("ann", 1), key="a")


def process(kind: Any = Kind.CATCHUP, told: Activity = Activity(), silent: float = 0.0, **changes: Any) -> None:  # noqa: B008
    """A process has been seen so many seconds ago."""
    key = uuid.uuid4()
    beat = Beat(kind, "host", 7, "1.0", 5.0, activity.encode(told))._replace(**changes)
    Process.objects.beat(key, beat, "default")
    Process.objects.filter(pk=key).update(seen_at=Now() - timedelta(seconds=silent))


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is busy has time to answer."""
    monkeypatch.setattr(gathering, "PATIENCE", 60.0)
    monkeypatch.setattr(gathering, "DATABASE_PATIENCE", 120.0)


@pytest.fixture
def no_kafka(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens there, and nobody waits for long."""
    monkeypatch.setattr(gathering, "PATIENCE", 0.2)
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA": {"bootstrap.servers": "127.0.0.1:1"}}


@pytest.fixture
def no_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests' apps declare is not here."""
    monkeypatch.setattr("django_events.handlers._groups", {})


# ── what is fine ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.kafka
def test_nothing_is_wrong(broker: Broker, no_groups: None) -> None:
    process()
    text = status()
    assert text.startswith("Nothing is wrong.\n\nThe outbox is empty.\n\nNo consumer group is declared.\n")
    assert text.endswith("\n\nNo dead letter is open.\n")


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_groups_and_processes_that_run_are_fine(site: Site, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    def findings() -> list[str]:
        return [each["what"] for each in found()["findings"] if "group ledger" in each["what"]]

    broker.create("ledger.entry-made")
    broker.create("ledger.entry-closed")
    consumer, catchup = site.start("consume", "ledger"), site.start("catchup")
    consumer.says("got ledger")
    wait_for(lambda: len(found()["processes"]) == 2)
    wait_for(lambda: {"state": "stable", "members": 1, "lag": 0}.items() <= group_line("ledger").items())
    facts = found()
    assert {(each["kind"], each["pid"]) for each in facts["processes"]} == {
        ("consume", consumer.pid), ("catchup", catchup.pid)}  # fmt: skip
    assert not facts["handlers_differ"]
    wait_for(lambda: not findings())  # a consumer that stood still a moment ago has to join again
    wait_for(lambda: "ledger: ledger.entry-closed[0-1], ledger.entry-made[0-1]" in status())
    with monkeypatch.context() as newer:
        newer.setattr(registry, "_digest", lambda handler: f"newer {handler}")
        (differs,) = [each for each in found()["handlers_differ"] if each["group"] == "ledger"]
    assert (len(differs["processes"]), differs["changed"]) == (2, ["book"])
    consumer.signal(signal.SIGTERM)
    wait_for(lambda: group_line("ledger")["state"] == "empty")
    wait_for(lambda: "No process runs the groups" in texts())
    wait_for(lambda: len(found()["processes"]) == 1)


@pytest.mark.kafka
def test_a_group_that_handles_dead_letters_has_their_lag(broker: Broker, no_groups: None) -> None:
    broker.create("ledger.entry-made.patients.dead-letter")
    broker.put_many("ledger.entry-made.patients.dead-letter", [b"{}"] * 3, b"a", 0)
    doctors = ConsumerGroup("doctors")

    @doctors.idempotent(entry_made, dead_letters_of="patients")
    def look(event: Event[EntryMade]) -> None: ...

    assert group_line("doctors")["lag"] == 3


def group_line(name: str) -> dict[str, Any]:
    nothing = {"state": "", "members": 0, "lag": None}
    line: dict[str, Any] = next((each for each in found()["groups"] if each["name"] == name), nothing)
    return line


# ── the outbox and dead letters ──────────────────────────────────────────────────────────────────────────────────


def test_what_waits_what_is_set_aside_and_what_failed(no_kafka: None) -> None:
    save(3)
    OutgoingEvent.objects.set_aside({OutgoingEvent.objects.earliest("pk").pk: "too large"}, "default")
    project(*[a_letter(key=None) for _ in range(2)], a_letter(exception="KeyError", message="\x1b[2J<b>"))
    text = status()
    lines = [line.split() for line in text.splitlines()]
    outbox = lines.index(["DATABASE", "TOPIC", "WAITING", "OLDEST", "SET", "ASIDE"])
    assert [(line[1], line[2], line[-1]) for line in lines[outbox + 1 : outbox + 3]] == [
        ("ledger.entry-closed", "1", "0"), ("ledger.entry-made", "2", "1")]  # fmt: skip
    assert ["2", "clinic/cure", "ledger.entry-made"] in [line[:3] for line in lines]
    assert "1 event of topic ledger.entry-made in database default is set aside: Kafka refuses it." in " ".join(
        text.split()
    )
    assert "\x1b" not in text


def test_events_that_wait_for_long_are_told_with_a_remedy(no_kafka: None) -> None:
    save(1)
    assert "waiting to be sent" not in texts()
    OutgoingEvent.objects.update(saved_at=Now() - timedelta(minutes=5))
    assert (
        "failing 1 event of topic ledger.entry-made in database default is waiting to be sent, the oldest for 5 min."
        in (texts())
    )
    assert "They are sent once Kafka is back." in status()


@pytest.mark.kafka
def test_events_wait_because_nobody_catches_up(broker: Broker) -> None:
    save(1)
    OutgoingEvent.objects.update(saved_at=Now() - timedelta(minutes=5))
    assert "the oldest for 5 min. → manage.py catchup" in texts()
    process()
    assert "the oldest for 5 min. → manage.py events topics --check" in texts()


@pytest.mark.kafka
def test_where_it_is_not_known_who_runs_nobody_is_said_to_be_missing(broker: Broker) -> None:
    save(1)
    OutgoingEvent.objects.update(saved_at=Now() - timedelta(minutes=5))
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {Process._meta.db_table} RENAME TO hidden")
    assert "the oldest for 5 min. → manage.py events topics --check" in texts()
    assert "manage.py catchup" not in texts()


def test_dead_letters_by_what_becomes_of_them(no_kafka: None) -> None:
    project(a_letter(), a_letter(key="bob", automatic=False))
    letters = found()["dead_letters"]
    assert (letters["waiting"], letters["asked_for"], letters["running"], letters["resolved"]) == (2, 1, 0, 0)
    assert letters["oldest"] > 0
    assert "2 dead letters are open, 1 of them until somebody says so, of clinic/cure" in texts()


def test_what_redact_hides_is_not_quoted_by_an_error(no_kafka: None, settings: Any) -> None:
    project(a_letter(message="the card is 4711-0815"))
    assert "4711-0815" in status()
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "REDACT": ["card"]}
    assert "4711-0815" not in status() + status("--json")


def test_a_program_gets_json(no_kafka: None) -> None:
    save(1)
    project(a_letter())
    facts = found()
    assert {row["topic"]: row["waiting"] for row in facts["outbox"]} == {
        "ledger.entry-closed": 1, "ledger.entry-made": 1}  # fmt: skip
    assert facts["failures"][0]["open_letters"] == 1


def test_a_long_queue_is_not_counted_to_its_end(monkeypatch: Any, no_kafka: None) -> None:
    monkeypatch.setattr("django_events.models.outbox.COUNTED", 5)
    monkeypatch.setattr("django_events.status.words.COUNTED", 5)
    save(20)
    assert "4+" in status()
    assert COUNTED > 10_000


# ── Kafka and databases ──────────────────────────────────────────────────────────────────────────────────────────


def test_without_kafka_all_else_is_told_and_kafka_is_the_worst(no_kafka: None) -> None:
    project(a_letter())
    facts = found()
    assert facts["kafka"]["answers"] is False
    assert facts["findings"][0]["severity"] == "failing"
    assert "127.0.0.1:1" in facts["findings"][0]["what"]
    assert facts["failures"]
    assert "Kafka does not tell of the groups." in status()


@pytest.mark.kafka
def test_kafka_answers_but_tells_nothing_of_groups(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any) -> None:
        raise KafkaRefused("Kafka refuses to tell of the group 'x': not authorized.")

    monkeypatch.setattr(consumer_groups, "survey", refuse)
    facts = found()
    assert (facts["kafka"]["answers"], facts["groups"]) == (True, [])
    assert "odd Nothing is known of the consumer groups: Kafka refuses to tell of the group 'x'" in texts()
    assert "Kafka does not tell of the groups." in status()


def test_without_the_table_of_processes_all_else_is_told(no_kafka: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {Process._meta.db_table} RENAME TO hidden")
    save(1)
    facts = found()
    assert facts["processes_unknown"]
    assert facts["outbox"]
    assert "odd It is not known which processes run" in texts()
    assert "→ manage.py migrate --database default" in texts()


def test_a_database_whose_outbox_cannot_be_read(no_kafka: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {OutgoingEvent._meta.db_table} RENAME TO hidden")
    project(a_letter())
    assert "failing The outbox in database default cannot be read" in texts()
    assert found()["failures"]


def test_without_the_table_of_dead_letters_all_else_is_told(no_kafka: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {DeadLetter._meta.db_table} RENAME TO hidden")
    save(1)
    facts = found()
    assert facts["dead_letters"] is None
    assert facts["dead_letters_unknown"]
    assert facts["outbox"]
    assert "failing Nothing is known of the dead letters in database default" in texts()
    assert "127.0.0.1:1 does not answer" in texts()
    assert status().endswith("\nIt is not known which dead letters are open.\n")


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_table_that_somebody_has_for_himself_is_not_waited_for(
    no_kafka: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "DATABASE_PATIENCE", 0.5)
    other = connections.create_connection("default")
    other.set_autocommit(False)
    try:
        with other.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {OutgoingEvent._meta.db_table} IN ACCESS EXCLUSIVE MODE")
        assert "failing The outbox in database default cannot be read: canceling statement due to" in texts()
    finally:
        other.close()


# ── groups ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.kafka
def test_a_group_that_nobody_runs(broker: Broker, no_groups: None, declarations: None) -> None:
    group = ConsumerGroup("sales")

    @group.idempotent(entry_made)
    def bill(event: Event[EntryMade]) -> None: ...

    assert "failing Kafka does not have the topic ledger.entry-made, which is handled by sales." in texts()
    topics.create_missing(["ledger.entry-made"], timeout=60)
    wait_for(
        lambda: (
            "waiting No process runs the group sales. Nothing waits for that yet. → manage.py consume sales" in texts()
        )
    )
    broker.put("ledger.entry-made", b"{}", key=b"a")
    wait_for(
        lambda: "failing No process runs the group sales; its lag is 1, and the oldest event has waited for" in texts()
    )


# ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_killed_process_is_told_as_silent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    catchup = site.start("catchup")
    wait_for(lambda: found()["processes"])
    catchup.kill()
    monkeypatch.setattr("django_events.status.overview.SILENT", timedelta(seconds=1))
    wait_for(lambda: "has said nothing for" in texts())
    (row,) = found()["processes"]
    assert (row["pid"], row["silent"]) == (catchup.pid, True)
    assert "SILENT" in status()


def test_silence_is_as_long_as_the_database_says(no_kafka: None) -> None:
    limit = processes.SILENT.total_seconds()
    process(silent=limit / 2, pid=1)
    process(silent=limit * 2, pid=2)
    assert [(each["pid"], each["silent"]) for each in found()["processes"]] == [(1, False), (2, True)]
    assert "host:2 has said nothing" in texts()


def test_what_is_wrong_in_a_process(no_kafka: None) -> None:
    told = Activity(
        groups=(
            GroupActivity(name="billing", state="hangs"),
            GroupActivity(name="mail", state="runs", partitions={"orders": "0-3"}, paused=2),
        ),
        oldest=Running(handler="billing/make_invoice", event_id="e-7", seconds=18_000.0),
        troubles=("Topic 'orders' is held back: no leader",),
    )
    process(Kind.CONSUME, told)
    text = texts()
    assert "failing Handler billing/make_invoice has been running for 5 h with event e-7, in consume host:7." in text
    assert "failing The group billing does not ask Kafka any more in consume host:7." in text
    assert "waiting Topic 'orders' is held back: no leader. (consume host:7)" in text
    assert "billing hangs: nothing; mail: orders[0-3], 2 paused" in status()


def test_what_many_processes_tell_is_told_once_and_some_of_them_are_named(no_kafka: None) -> None:
    call = Running(handler="mail/confirm", event_id="e-7", seconds=18_000.0)
    troubles = ("Sending events to Kafka: no answer",)
    for pid in range(1, 8):
        group = GroupActivity(name="billing", state="hangs")
        oldest = replace(call, event_id=f"e-{pid}", seconds=call.seconds + 100.0 * pid)
        process(Kind.CONSUME, Activity(groups=(group,), oldest=oldest, troubles=troubles), pid=pid)
    text = texts()
    few = ", ".join(f"consume host:{pid}" for pid in range(1, 6))
    for once in ("Sending events to Kafka", "The group billing does", "mail/confirm"):
        assert text.count(once) == 1
    assert f"waiting Sending events to Kafka: no answer. (7 processes: {few} and 2 more)" in text
    assert f"failing The group billing does not ask Kafka any more in 7 processes: {few} and 2 more." in text
    others = ", ".join(f"consume host:{pid}" for pid in range(6, 1, -1))
    longest = "failing Handler mail/confirm has been running for 5 h with event e-7, in consume host:7"
    assert f"{longest}; also for over a minute in 6 processes: {others} and 1 more." in text


def test_a_group_that_is_stuck_although_no_handler_runs_for_long(no_kafka: None) -> None:
    process(Kind.CONSUME, Activity(groups=(GroupActivity(name="billing", state="stuck"),)))
    assert "failing The group billing waits for a handler, or for a dead letter" in texts()


def test_processes_that_declare_other_handlers(no_kafka: None, no_groups: None, declarations: None) -> None:
    group = ConsumerGroup("sales")

    @group.idempotent(entry_made)
    def bill(event: Event[EntryMade]) -> None: ...

    @group.idempotent(entry_made)
    def mail(event: Event[EntryMade]) -> None: ...

    ours = registry.digests([group])
    process(Kind.CONSUME, Activity(declared=ours), pid=1)
    process(Kind.CONSUME, Activity(declared={"sales": activity.shortened(ours["sales"])}), pid=2)
    process(Kind.CONSUME, Activity(declared={"of another site": {"x": "1"}}), pid=3)
    assert not found()["handlers_differ"]
    old = {"sales": {"bill": "changed", "gone": "1"}}
    process(Kind.CONSUME, Activity(declared=old), pid=4)
    process(Kind.CATCHUP, Activity(declared=old), pid=5)
    process(Kind.CONSUME, Activity(declared={"sales": {}}), pid=6, silent=1_000.0)
    (difference,) = found()["handlers_differ"]
    assert difference == {
        "group": "sales",
        "processes": ["consume host:4", "catchup host:5"],
        "changed": ["bill"],
        "lacking": ["mail"],
        "additional": ["gone"],
    } | {"processes": difference["processes"]}
    assert {*difference["processes"]} == {"consume host:4", "catchup host:5"}
    assert "declare other handlers of sales than the newest code (changed: bill; lacking: mail; additional: gone)" in (
        texts()
    )


def test_a_process_of_a_newer_version_is_shown(no_kafka: None) -> None:
    process(kind="tomorrow", activity={"groups": 7})
    assert "tomorrow" in status()
    assert found()["processes"][0]["activity"] is None


def test_no_catchup_runs(no_kafka: None) -> None:
    assert "odd No catchup runs" in texts()
    process()
    assert "No catchup runs" not in texts()


# ── again and again ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_watching_shows_it_again_and_again_until_a_signal(site: Site, broker: Broker) -> None:
    process = site.start("events", "status", "--watch", "0.2")
    wait_for(lambda: process.output.count("The outbox is empty.") >= 2)
    save(1)
    process.says("ledger.entry-closed")
    process.signal(signal.SIGTERM)
    process.succeeds()
