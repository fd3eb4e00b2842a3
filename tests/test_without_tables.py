"""DATABASES = []: what needs no table works and touches no database, all else is refused with the reason."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from django_events import Backoff, ConsumerGroup, DeclarationError, Event, OnFailure, Service, SettingsError, checks
from django_events.consuming import attempt
from django_events.consuming.outcome import Failed
from django_events.kafka.record import Partition, ReceivedRecord
from django_events.testing import saved_events
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_made
from tests.processes import ROOT, Site

UNTOUCHABLE = "tests.tableless.untouchable"
SETTINGS = "tests.tableless.settings"

SEND = """
from tests.tableless.handlers import signup
for name in ("good", "bad"):
    signup.send_now({"name": name}, key=name, timeout=60)
"""


@pytest.fixture
def tableless(settings: Any, declarations: None) -> None:
    """In this process, too."""
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "DATABASES": []}


@pytest.fixture(params=["", UNTOUCHABLE], ids=["no database", "untouchable database"])
def start(request: pytest.FixtureRequest, broker: Broker, tmp_path: Path) -> Any:
    """Starts commands of the site that has no tables."""
    env = {
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "ENGINE": request.param,
        "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "EVENTS_PREFIX": broker.prefix,
    }
    site = Site(env, tmp_path)
    yield site.start
    site.end()


@pytest.mark.kafka
def test_what_needs_no_tables_works_and_touches_no_database(start: Callable[..., Any], broker: Broker) -> None:
    start("check").succeeds()
    start("shell", "-v0", "-c", SEND).succeeds()
    consumer = start("consume")
    for line in (
        *("block good at attempt 2", "block bad at attempt 2"),
        *("discard good at attempt 1", "ValueError: discarded for good"),
        *("save good at attempt 1", "repair save of bad at attempt 1"),
    ):
        consumer.says(line)
    consumer.says("Databases  none: settings.DJANGO_EVENTS['DATABASES'] is empty")
    consumer.signal(signal.SIGTERM)
    outputs = [consumer.succeeds(), start("consume", "--until-empty").succeeds()]
    outputs.append(start("events", "groups", "--timeout=60").succeeds())
    replay = ("--group=mailing", "--handler=block", "--topic=signup", "--timeout=60")
    outputs.append(start("events", "replay", *replay).succeeds())
    assert "block good at attempt 2" in outputs[-1]
    assert "TOUCHED" not in "".join(outputs)
    (letter,) = broker.read("signup.mailing.dead-letter")
    assert (letter.key, letter.payload, letter.header("dead-letter-handler")) == (b"bad", {"name": "bad"}, b"save")
    assert [broker.committed("mailing", "signup", number) for number in (0, 1)] == [
        broker.end("signup", number) or None for number in (0, 1)
    ]


@pytest.mark.kafka
def test_broadcast_handlers_touch_no_database(start: Callable[..., Any]) -> None:
    consumer = start("consume", "repairs")
    consumer.says("broadcast: reads signup from now on")
    start("shell", "-v0", "-c", SEND).succeeds()
    consumer.says("hear good at attempt 1")
    consumer.says("hear bad at attempt 1")
    consumer.signal(signal.SIGTERM)
    assert "TOUCHED" not in consumer.succeeds()


def test_the_untouchable_database_tells_who_touches_it() -> None:
    code = "import django; django.setup(); from django.db import connection; connection.cursor()"
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": SETTINGS, "ENGINE": UNTOUCHABLE}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert "THE DATABASE WAS TOUCHED" in done.stderr


def ignore(event: Event[Any]) -> None: ...


REASON = "needs the tables of django_events, and settings.DJANGO_EVENTS['DATABASES'] is empty: this site has none. "


@pytest.mark.usefixtures("tableless")
def test_handlers_that_need_tables_are_refused_by_the_check_and_by_a_service() -> None:
    group = ConsumerGroup("checked")
    group.idempotent(entry_made, name="fine")(ignore)
    assert [thread.name for thread in Service([group])._threads] == ["django-events-checked"]
    group.exactly_once(entry_made, name="once", on_failure=OnFailure.SAVE)(ignore)
    found = {each.msg for each in checks.check_handlers(None) if each.id == "django_events.E014"}
    (text,) = [each for each in found if "checked/" in each]
    assert text.startswith(f"Handler checked/once is exactly_once, which {REASON}")
    assert text.endswith("or declare it as idempotent.")
    with pytest.raises(SettingsError, match="Handler checked/once is exactly_once"):
        Service([group])
    other = ConsumerGroup("later")
    other.idempotent(entry_made, name="later", on_failure=OnFailure.RETRY_LATER)(ignore)
    with pytest.raises(SettingsError, match=r"later/later has on_failure=OnFailure.RETRY_LATER, .* or say BLOCK"):
        Service([other])


@pytest.mark.usefixtures("tableless")
def test_the_default_policy_is_to_block() -> None:
    group = ConsumerGroup("defaults")
    group.idempotent(entry_made, name="note", retry=Backoff(first=2.0))(ignore)
    assert group.handlers[0].policy.on_failure is OnFailure.BLOCK
    with pytest.raises(DeclarationError, match="the default for dead_letters_of=, and without tables"):
        group.idempotent(entry_made, name="other", retry=3)(ignore)


@pytest.mark.usefixtures("tableless")
def test_calls_and_commands_that_need_tables_are_refused_with_the_reason() -> None:
    with pytest.raises(SettingsError, match=r"^send\(\) needs the tables.* or use send_now\(\), which does without\.$"):
        entry_made.send(EntryMade("ann", 1))
    with pytest.raises(SettingsError, match=r"^saved_events\(\) needs the tables"):
        saved_events()
    for command in (
        ("catchup",),
        ("events", "status"),
        ("events", "prune"),
        ("events", "dead-letters", "list"),
        ("events", "dead-letters", "rebuild"),
    ):
        with pytest.raises(CommandError, match=f"^manage.py {' '.join(command)} needs the tables"):
            call_command(*command)
    with pytest.raises(CommandError, match="Handler clinic/cure is exactly_once"):
        call_command("events", "replay", "--group=clinic", "--handler=cure", "--topic=ledger.entry-made")


@pytest.mark.usefixtures("tableless")
def test_a_handlers_own_trouble_with_a_database_is_a_failure_of_the_handler() -> None:
    """Whether that database is back is not ours to ask."""
    group = ConsumerGroup("own")
    group.idempotent(entry_made, name="note")(ignore)
    record = ReceivedRecord(Partition("ledger.entry-made", 0), 0, None, b"{}", [], None)
    outcome = attempt.outcome_of(OperationalError("away"), group.handlers[0], record)
    assert isinstance(outcome, Failed)


@pytest.mark.usefixtures("tableless")
def test_the_check_says_nothing_of_databases_that_have_no_outbox() -> None:
    assert checks.check_settings(None) == checks.check_databases(None) == checks.check_sqlite(None) == []


@pytest.mark.postgres
def test_admin_has_no_pages_that_ask_for_tables() -> None:
    code = (
        "import django; from django.conf import settings; settings.DJANGO_EVENTS['DATABASES'] = []; django.setup(); "
        "from django.contrib.admin import site; "
        "assert not [model for model in site._registry if model._meta.app_label == 'django_events']"
    )
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "testproject.settings"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, check=True)


def test_declarations_can_be_imported_without_settings() -> None:
    code = (
        "from django_events import ConsumerGroup, OnFailure, Topic; group = ConsumerGroup('g'); "
        "group.idempotent(Topic('t', dict), name='h')(lambda event: None); "
        "assert group.handlers[0].policy.on_failure is OnFailure.RETRY_LATER"
    )
    env = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, check=True)
