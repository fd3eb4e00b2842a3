"""``manage.py consume``: what it shows, which groups it runs, how it is reloaded, and what its errors say."""

import gc
import io
import json
import os
import signal
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from django_events import Batch, ConsumerGroup, Event, OnFailure, Topic, __version__, handlers, topics
from django_events.kafka import topics as kafka_topics
from tests.broker import Broker
from tests.ledger.entries import make_entry
from tests.ledger.events import EntryMade, entry_made
from tests.ledger.models import Entry
from tests.processes import Process, Site
from tests.waiting import wait_for

real = [pytest.mark.kafka, pytest.mark.postgres]

Payload = dict[str, Any]


def listed(*arguments: str) -> str:
    out = io.StringIO()
    call_command("consume", "--list", *arguments, stdout=out)
    return out.getvalue()


def group_names(*arguments: str) -> list[str]:
    return [each["group"] for each in json.loads(listed("--json", *arguments))["groups"]]


@pytest.fixture
def all_kinds(declarations: None, settings: Any) -> None:
    """Groups and handlers with every option, and nothing else."""
    handlers._groups.clear()
    topics._declared.clear()
    settings.DJANGO_EVENTS = {
        **settings.DJANGO_EVENTS,
        "PREFIX": "stage.",
        "KAFKA": {"bootstrap.servers": ",".join(f"kafka{n}.a-long-name.example.com:9092" for n in range(5))},
    }
    placed = Topic[Payload]("shop.order-placed", Payload)
    moved = Topic[Payload]("shop." + "order-moved" * 10, Payload)
    new = ConsumerGroup("new", workers=1, start="latest", max_outstanding=7)
    late = ConsumerGroup("late" * 13, start=datetime(2026, 1, 31, tzinfo=UTC), max_outstanding_in_all=10_000_000)

    @new.exactly_once(placed, moved, batch=Batch(size=100, wait=0.5), on_failure=OnFailure.SAVE, retry=3)
    def several(events: list[Event[Payload]]) -> None: ...

    @new.exactly_once(placed, using="default", concurrency=2, on_failure=OnFailure.BLOCK)
    def single(event: Event[Payload]) -> None: ...

    @new.exactly_once(placed, shared_transaction=False, ordered=False, on_failure=OnFailure.DISCARD, retry=False)
    def apart(event: Event[Payload]) -> None: ...

    @late.idempotent(placed, dead_letters_of=new, name="letters" * 20)
    def letters(event: Event[Payload]) -> None: ...


def test_the_page_tells_versions_places_and_every_handler(all_kinds: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    page = [" ".join(line.split()) for line in listed().splitlines()]
    assert page[0].startswith(f"django_events {__version__}")
    assert page[1].startswith("Databases default: ")
    brokers = ", ".join(f"kafka{n}.a-long-name.example.com:9092" for n in range(5))
    assert f"Kafka {brokers}" in " ".join(page)
    assert "Prefix stage." in page
    assert f"{'late' * 13}: 8 workers, from 2026-01-31 00:00:00+00:00" in page
    assert "new: 1 worker, from what is sent from now on" in page
    assert "in hand: up to 7 events a partition, 10,000 in all" in page
    assert "several shop.order-placed exactly once save after 3 tries with up to 100, 3 at once" in page
    assert "single shop.order-placed exactly once block up to 50 a transaction" in page
    assert "apart shop.order-placed exactly once discard after 1 try one by one" in page
    assert {"in any order", "2 at once", "in database default"} <= set(page)


@pytest.mark.parametrize("columns", ["100", "200"])
def test_the_page_fits_in_100_columns(all_kinds: None, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert max(map(len, listed().splitlines())) <= 100


def test_a_program_gets_everything_as_json(all_kinds: None) -> None:
    facts = json.loads(listed("--json", "--workers=3"))
    late, new = facts["groups"]
    assert facts["prefix"] == "stage."
    assert facts["brokers"] == ",".join(f"kafka{n}.a-long-name.example.com:9092" for n in range(5))
    assert (late["start"], late["max_outstanding_in_all"]) == ("2026-01-31 00:00:00+00:00", 10_000_000)
    assert late["handlers"][0]["dead_letters_of"] == "new"
    assert late["handlers"][0]["topics"] == ["shop.order-placed.new.dead-letter"]
    assert (new["workers"], new["start"], new["max_outstanding"]) == (3, "latest", 7)
    several, single, apart = new["handlers"]
    assert several["batch"] == {"size": 100, "parallel": 3, "wait": 0.5}
    assert (several["tries"], several["on_failure"]) == (3, "save")
    assert (single["concurrency"], single["database"], single["shared_transaction"]) == (2, "default", True)
    assert (apart["ordered"], apart["shared_transaction"]) == (False, False)


def test_a_list_asks_neither_kafka_nor_the_database(tmp_path: Path) -> None:
    env = {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DATABASE_URL": "postgres://nobody:a-secret@127.0.0.1:9/nothing",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
    }
    page = Site(env, tmp_path).run("consume", "--list")
    assert "postgresql nothing at 127.0.0.1:9" in page
    assert "a-secret" not in page


def test_groups_are_named_and_excluded() -> None:
    assert {"audit", "clinic", "ledger"} <= set(group_names())
    assert group_names("clinic", "audit") == ["clinic", "audit"]
    assert "audit" not in group_names("--exclude=audit", "--exclude=clinic")
    assert group_names("clinic", "audit", "--exclude=audit") == ["clinic"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nobody"], "No consumer group is named nobody. Declared groups: .*audit"),
        (["--exclude=nobody"], "No consumer group is named nobody"),
        (["audit", "--exclude=audit"], "--exclude leaves no consumer group"),
        (["audit", "--json"], "--json is for --list"),
        (["audit", "--workers=0"], "not a whole number from 1 to 1,000"),
        (["audit", "--workers=1001"], "not a whole number from 1 to 1,000"),
        (["audit", "--max-events=-1"], "not a whole number"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: list[str], text: str) -> None:
    with pytest.raises(CommandError, match=text):
        call_command("consume", *arguments)


class TestOnRealParts:
    pytestmark = real

    @pytest.fixture(autouse=True)
    def created(self, broker: Broker) -> None:
        kafka_topics.create_missing(["ledger.entry-made"], timeout=60)

    def test_workers_are_as_many_as_the_command_says_and_enough_events_are_an_end(
        self, broker: Broker, declarations: None, transactional_db: None
    ) -> None:
        group = ConsumerGroup("many", workers=1)
        all_are_in = threading.Barrier(3, timeout=60)
        handled: list[str | None] = []
        spared: list[int] = []

        @group.idempotent(entry_made, retry=False, on_failure=OnFailure.DISCARD)
        def meet(event: Event[EntryMade]) -> None:
            all_are_in.wait()
            handled.append(event.key)
            spared.append(gc.get_freeze_count())

        for key in (b"a", b"b", b"c"):
            broker.put("ledger.entry-made", b'{"account":"a","number":1}', key=key, partition=0)
        out = io.StringIO()
        call_command("consume", "many", "--workers=3", "--max-events=3", stdout=out)
        assert min(spared) > 10_000, "objects that no look for garbage looks at"
        assert gc.get_freeze_count() == 0
        assert sorted(map(str, handled)) == ["a", "b", "c"]
        assert "3 events are handled, which is enough" in out.getvalue()
        assert broker.committed("many", "ledger.entry-made", 0) == 3

    def test_after_enough_events_nothing_is_lost_or_repeated(self, site: Site, broker: Broker) -> None:
        for _ in range(20):
            make_entry("ann")
        site.catch_up()
        site.run("consume", "ledger", "--max-events=5")
        handled = Entry.objects.count()
        assert handled >= 5
        site.run("consume", "ledger", "--until-empty")
        assert sorted(Entry.objects.values_list("number", flat=True)) == list(range(1, 21))


HANDLERS = """
import time
from pathlib import Path
from django_events import ConsumerGroup
from tests.ledger.events import entry_made
from tests.ledger.models import Entry

reloaded = ConsumerGroup("reloaded")

@reloaded.exactly_once(entry_made)
def note(event):
    if event.payload.hold:
        Path(event.payload.hold + ".started").touch()
        while not Path(event.payload.hold).exists():
            time.sleep(0.01)
    Entry.objects.create(
        handler="VERSION", topic=event.topic, event_id=event.id, account="", number=event.payload.number, process=0
    )
"""


class TestReload:
    pytestmark = real

    @pytest.fixture(autouse=True)
    def app(self, broker: Broker, tmp_path: Path) -> None:
        """An app whose handlers may be changed."""
        kafka_topics.create_missing(["ledger.entry-made"], timeout=60)
        (tmp_path / "reloaded").mkdir()
        (tmp_path / "reloaded" / "__init__.py").touch()
        settings = 'from tests.settings import *\nINSTALLED_APPS = [*INSTALLED_APPS, "reloaded"]\n'
        (tmp_path / "settings_of_reloaded.py").write_text(settings)
        self.handlers = tmp_path / "reloaded" / "handlers.py"
        self.changes = 0
        self.write(HANDLERS.replace("VERSION", "first"))

    def write(self, text: str) -> None:
        """Change the file, so that everybody sees that it is another."""
        self.changes += 1
        new = self.handlers.with_suffix(".new")
        new.write_text(text)
        at = new.stat().st_mtime + self.changes * 10
        os.utime(new, (at, at))
        new.replace(self.handlers)

    def start(self, site: Site, tmp_path: Path) -> Process:
        return site.start(
            "consume",
            "reloaded",
            "--reload",
            DJANGO_SETTINGS_MODULE="settings_of_reloaded",
            PYTHONPATH=str(tmp_path),
        )

    def entries(self) -> list[tuple[str, int]]:
        return list(Entry.objects.order_by("number", "pk").values_list("handler", "number"))

    def test_after_a_change_what_runs_is_finished_and_the_new_code_goes_on(self, site: Site, tmp_path: Path) -> None:
        hold = tmp_path / "hold"
        make_entry("ann", hold=str(hold))
        site.catch_up()
        consumer = self.start(site, tmp_path)
        wait_for(Path(f"{hold}.started").exists)
        self.write(HANDLERS.replace("VERSION", "second"))
        consumer.says("Stopping")
        assert self.entries() == []
        hold.touch()
        make_entry("ann")
        site.catch_up()
        wait_for(lambda: self.entries() == [("first", 1), ("second", 2)])
        consumer.signal(signal.SIGTERM)
        consumer.succeeds()
        assert consumer.output.count("Stopped") == 2

    def test_an_error_in_the_code_waits_for_a_change(self, site: Site, tmp_path: Path) -> None:
        consumer = self.start(site, tmp_path)
        consumer.says("got ledger.entry-made[0]")
        self.write("def")
        consumer.says("it starts again when a file changes")
        assert "SyntaxError" in consumer.output
        make_entry("ann")
        site.catch_up()
        self.write(HANDLERS.replace("VERSION", "mended"))
        wait_for(lambda: self.entries() == [("mended", 1)])
        consumer.signal(signal.SIGINT)
        consumer.succeeds()

    def test_a_second_signal_ends_it_at_once(self, site: Site, tmp_path: Path) -> None:
        make_entry("ann", hold=str(tmp_path / "hold"))
        site.catch_up()
        consumer = self.start(site, tmp_path)
        wait_for((tmp_path / "hold.started").exists)
        consumer.signal(signal.SIGINT)
        consumer.says("Stopping")
        consumer.signal(signal.SIGINT)
        assert consumer.ends() == 128 + signal.SIGINT
