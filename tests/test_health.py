"""``consume --health-file``: the file is young only as long as the process is well."""

import signal
import threading
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from django_events import ConsumerGroup, Event, OnFailure
from django_events.consuming import service as service_module
from django_events.consuming import slowness
from django_events.consuming.letter_writer import LetterWriter
from django_events.consuming.pruning import Pruner
from django_events.consuming.service import Service
from django_events.kafka import topics
from django_events.management.consume import health_file
from django_events.management.consume.health_file import HealthFile
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_made
from tests.processes import Site
from tests.waiting import wait_for


@pytest.mark.kafka
@pytest.mark.postgres
def test_the_file_is_renewed_while_groups_poll_and_gone_afterwards(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "health"
    consumer = site.start("consume", "audit", "clinic", f"--health-file={file}")
    wait_for(file.exists)
    first = file.stat().st_mtime_ns
    wait_for(lambda: file.exists() and file.stat().st_mtime_ns > first)
    consumer.signal(signal.SIGTERM)
    consumer.succeeds()
    assert not file.exists()


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_service_is_not_well_while_a_handler_is_stuck(
    broker: Broker, declarations: None, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slowness, "LONG", 0.1)
    topics.create_missing(["ledger.entry-made"], timeout=10)
    group = ConsumerGroup("stuck")
    may_end = threading.Event()

    @group.idempotent(entry_made)
    def wait(event: Event[EntryMade]) -> None:
        may_end.wait()

    service = Service([group])
    assert not service.is_healthy  # it has not begun
    service.begin()
    wait_for(lambda: service.is_healthy)
    broker.put("ledger.entry-made", b'{"account":"a","number":1}', key=b"a")
    wait_for(lambda: not service.is_healthy)
    may_end.set()
    wait_for(lambda: service.is_healthy)
    assert service.stop(30)


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_service_is_not_well_while_a_group_does_not_poll(
    broker: Broker, declarations: None, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "LONGEST_ROUND", 1.0)
    topics.create_missing(["ledger.entry-made"], timeout=10)
    group = ConsumerGroup("held")
    is_held, may_go_on = threading.Event(), threading.Event()

    @group.idempotent(entry_made)
    def note(event: Event[EntryMade]) -> None: ...

    def hold(_line: str) -> None:  # in the group's thread
        is_held.set()
        may_go_on.wait()

    service = Service([group], on_change=hold)
    service.begin()
    wait_for(is_held.is_set)
    wait_for(lambda: not service.is_healthy)
    may_go_on.set()
    wait_for(lambda: service.is_healthy)
    assert service.stop(30)


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_group_whose_writer_of_letters_has_died_does_not_go_on(
    broker: Broker, declarations: None, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise SystemExit("died")

    monkeypatch.setattr(LetterWriter, "_write", die)
    topics.create_missing(["ledger.entry-made"], timeout=10)
    group = ConsumerGroup("mute")

    @group.idempotent(entry_made, on_failure=OnFailure.SAVE, retry=False)
    def fail(event: Event[EntryMade]) -> None:
        raise ValueError("no")

    service = Service([group])
    service.begin()
    wait_for(lambda: service.is_healthy)
    broker.put("ledger.entry-made", b'{"account":"a","number":1}', key=b"a")
    wait_for(lambda: not service.is_healthy)
    with pytest.raises(SystemExit, match="died"):
        service.wait(30)
    service.stop(30)


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_service_is_not_well_without_one_of_its_threads(
    broker: Broker, declarations: None, transactional_db: None
) -> None:
    topics.create_missing(["ledger.entry-made"], timeout=10)
    group = ConsumerGroup("short")

    @group.exactly_once(entry_made)
    def note(event: Event[EntryMade]) -> None: ...

    service = Service([group])
    service.begin()
    wait_for(lambda: service.is_healthy)
    (pruner,) = [each for each in service._threads if isinstance(each, Pruner)]
    pruner.stop(0)
    wait_for(lambda: not service.is_healthy)
    assert service.stop(30)


def test_a_file_that_cannot_be_written_is_an_error_at_the_start(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("do not delete")
    for path, text in (
        (tmp_path / "nowhere" / "health", "cannot be written: No such file or directory"),
        (tmp_path, "is no empty file"),
        (precious, "is no empty file"),
    ):
        with pytest.raises(CommandError, match=f"--health-file {path} .*{text}"):
            call_command("consume", f"--health-file={path}")
    assert precious.read_text() == "do not delete"


def test_a_file_that_an_earlier_process_has_left_does_not_count(tmp_path: Path) -> None:
    file = tmp_path / "health"
    file.touch()
    health = HealthFile(file)
    assert not file.exists()
    health.touch()
    assert file.exists()


def test_a_folder_that_goes_away_is_logged_once_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_file, "INTERVAL", 0.0)
    folder = tmp_path / "folder"
    folder.mkdir()
    health = HealthFile(folder / "health")
    folder.rmdir()
    for _ in range(3):
        health.touch()
    assert caplog.text.count("cannot be written any more") == 1
    folder.mkdir()
    health.touch()
    assert (folder / "health").exists()
    health.remove()
    health.remove()


def test_it_is_written_at_most_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_file, "INTERVAL", 3600.0)
    file = tmp_path / "health"
    health = HealthFile(file)
    health.touch()
    file.unlink()
    health.touch()
    assert not file.exists()
