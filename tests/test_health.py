"""``consume --health-file``: the file is young only as long as the process is well."""

import io
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError, OutputWrapper

from django_events import Backoff, ConsumerGroup, Event, OnFailure
from django_events.consuming import group as group_module
from django_events.consuming import letter_reader, letter_retrier, letter_writer, slowness
from django_events.consuming import service as service_module
from django_events.consuming.group import GroupThread
from django_events.consuming.letter_writer import LetterWriter
from django_events.consuming.limits import Limits
from django_events.consuming.pruning import Pruner
from django_events.consuming.service import Service
from django_events.exceptions import ConsumerFailed
from django_events.kafka import topics
from django_events.management.console import Console
from django_events.management.consume import health_file
from django_events.management.consume.health_file import HealthFile
from django_events.management.consume.running import Run, consume
from django_events.stopping import Stop
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
def test_the_file_is_not_renewed_while_a_handler_is_stuck(
    broker: Broker, declarations: None, transactional_db: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(slowness, "LONG", 0.1)
    monkeypatch.setattr(health_file, "INTERVAL", 0.0)
    looks: list[None] = []
    look = Service.wait

    def counted(service: Service, timeout: float | None = None) -> bool:
        looks.append(None)
        return look(service, timeout)

    monkeypatch.setattr(Service, "wait", counted)
    topics.create_missing(["ledger.entry-made"], timeout=60)
    group = ConsumerGroup("stuck")
    may_end = threading.Event()

    @group.idempotent(entry_made)
    def wait(event: Event[EntryMade]) -> None:
        may_end.wait()

    file = tmp_path / "health"
    run = Run(
        groups=[group],
        broadcasts=[],
        limits=Limits(commit_interval=0.1),
        shutdown_timeout=60.0,
        until_empty=False,
        max_events=None,
        health_file=HealthFile(file),
    )
    stop, console = Stop(), Console(OutputWrapper(io.StringIO()), OutputWrapper(io.StringIO()))
    command = threading.Thread(target=consume, args=(run, stop, console))
    command.start()
    try:
        wait_for(file.exists)
        broker.put("ledger.entry-made", b'{"account":"a","number":1}', key=b"a")
        wait_for(lambda: any(thread.is_stuck for each in service_module.running() for thread in each._groups))
        seen = len(looks)
        wait_for(lambda: len(looks) > seen + 1)  # what it saw before that has been done
        renewed = file.stat().st_mtime_ns
        wait_for(lambda: len(looks) > seen + 4)
        assert file.stat().st_mtime_ns == renewed
        may_end.set()
        wait_for(lambda: file.stat().st_mtime_ns > renewed)
    finally:
        may_end.set()
        stop.set()
        command.join(120)
    assert not file.exists()


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_service_is_not_well_while_a_handler_is_stuck(
    broker: Broker, declarations: None, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slowness, "LONG", 0.1)
    topics.create_missing(["ledger.entry-made"], timeout=60)
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
    assert service.stop(120)


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_service_is_not_well_while_a_group_does_not_poll(
    broker: Broker, declarations: None, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_module, "LONGEST_ROUND", 1.0)
    topics.create_missing(["ledger.entry-made"], timeout=60)
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
    assert service.stop(120)


def test_a_service_is_well_while_its_group_asks_a_slow_kafka_for_its_topics(
    declarations: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = {"bootstrap.servers": "127.0.0.1:1"}
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "DATABASES": [], "KAFKA": servers}
    group = ConsumerGroup("slow-begin")
    is_asking, may_go_on = threading.Event(), threading.Event()

    @group.idempotent(entry_made, on_failure=OnFailure.DISCARD)
    def note(event: Event[EntryMade]) -> None: ...

    def ask(_: GroupThread) -> None:
        is_asking.set()
        may_go_on.wait()

    monkeypatch.setattr(GroupThread, "_create_topics", ask)
    service = Service([group], broadcast=[])
    service.begin()
    try:
        assert is_asking.wait(60)
        assert service.is_healthy
    finally:
        service._groups[0].stop(0)
        may_go_on.set()
        assert service.stop(120)


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_group_whose_writer_of_letters_has_died_does_not_go_on(
    broker: Broker, declarations: None, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise SystemExit("died")

    monkeypatch.setattr(LetterWriter, "_write", die)
    topics.create_missing(["ledger.entry-made"], timeout=60)
    group = ConsumerGroup("mute")

    @group.idempotent(entry_made, on_failure=OnFailure.SAVE, retry=False)
    def fail(event: Event[EntryMade]) -> None:
        raise ValueError("no")

    service = Service([group], limits=Limits(drain=600))
    service.begin()
    wait_for(lambda: service.is_healthy)
    broker.put("ledger.entry-made", b'{"account":"a","number":1}', key=b"a")
    wait_for(lambda: not service.is_healthy)
    with pytest.raises(SystemExit, match="died"):
        service.wait(60)
    wait_for(lambda: not service._groups[0].is_alive())  # what the writer had is not waited for
    service.stop(30)


@pytest.mark.kafka
@pytest.mark.postgres
def test_what_ends_a_group_is_raised_while_its_handlers_are_waited_for(
    broker: Broker, declarations: None, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics.create_missing(["ledger.entry-made"], timeout=60)
    group = ConsumerGroup("ending")
    has_begun, may_end = threading.Event(), threading.Event()

    @group.idempotent(entry_made)
    def wait(event: Event[EntryMade]) -> None:
        has_begun.set()
        may_end.wait()

    def refused(*_: object) -> None:
        raise ConsumerFailed("not allowed")

    service = Service([group], limits=Limits(drain=600))
    service.begin()
    broker.put("ledger.entry-made", b'{"account":"a","number":1}', key=b"a")
    wait_for(has_begun.is_set)
    monkeypatch.setattr(service._groups[0], "_turn", refused)
    with pytest.raises(ConsumerFailed):
        service.wait(60)
    assert service._groups[0].is_alive()
    may_end.set()
    assert service.stop(120)


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_service_is_not_ill_for_a_handler_that_is_stuck_in_another_service(
    broker: Broker, declarations: None, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slowness, "LONG", 0.1)
    topics.create_missing(["ledger.entry-made"], timeout=60)
    group = ConsumerGroup("both")
    may_end = threading.Event()

    @group.idempotent(entry_made)
    def wait(event: Event[EntryMade]) -> None:
        may_end.wait()

    first, second = Service([group]), Service([group])
    for service in (first, second):
        service.begin()
    wait_for(lambda: [len(service._groups[0].partitions) for service in (first, second)] == [1, 1])
    (partition,) = first._groups[0].partitions
    broker.put("ledger.entry-made", b'{"account":"a","number":1}', key=b"a", partition=partition.number)
    wait_for(lambda: first._groups[0].is_stuck)
    looked_at = second._groups[0]._commit_due
    wait_for(lambda: second._groups[0]._commit_due > looked_at)
    assert not second._groups[0].is_stuck
    may_end.set()
    assert first.stop(120) and second.stop(120)


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_service_is_not_well_while_a_handler_is_stuck_with_a_dead_letter(
    broker: Broker, declarations: None, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slowness, "LONG", 0.1)
    topics.create_missing(["ledger.entry-made"], timeout=60)
    group = ConsumerGroup("later")
    may_end = threading.Event()

    @group.idempotent(entry_made, retry=False, retry_later=Backoff(first=0.1, max=0.1))
    def fail_then_wait(event: Event[EntryMade]) -> None:
        if event.attempt == 1:
            raise ValueError("no")
        may_end.wait()

    service = Service([group])
    (retrier,) = [each for each in service._threads if isinstance(each, letter_retrier.LetterRetrier)]
    service.begin()
    wait_for(lambda: service.is_healthy)
    broker.put("ledger.entry-made", b'{"account":"a","number":1}', key=b"a")
    wait_for(lambda: retrier.is_stuck)
    assert not service.is_healthy
    wait_for(lambda: not service._groups[0].is_stuck)  # on a busy machine the first try may have taken long, too
    may_end.set()
    wait_for(lambda: service.is_healthy)
    assert service.stop(120)


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.parametrize(
    ("module", "hanging"),
    [(letter_reader.LetterReader, "_commit_if_due"), (letter_retrier.LetterRetrier, "_save_what_is_known")],
)
def test_a_service_is_not_well_while_a_thread_of_dead_letters_hangs(
    broker: Broker,
    declarations: None,
    transactional_db: None,
    monkeypatch: pytest.MonkeyPatch,
    module: type,
    hanging: str,
) -> None:
    monkeypatch.setattr(slowness, "HANGS", 3.0)
    topics.create_missing(["ledger.entry-made"], timeout=60)
    group = ConsumerGroup("hanging")
    may_go_on = threading.Event()

    @group.idempotent(entry_made)
    def note(event: Event[EntryMade]) -> None: ...

    service = Service([group])
    service.begin()
    wait_for(lambda: service.is_healthy)
    monkeypatch.setattr(module, hanging, lambda thread: may_go_on.wait())
    wait_for(lambda: not service.is_healthy)
    may_go_on.set()
    wait_for(lambda: service.is_healthy)
    assert service.stop(120)


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_service_is_not_well_while_a_dead_letter_is_being_written_for_too_long(
    broker: Broker, declarations: None, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letter_writer, "STUCK", 0.1)
    topics.create_missing(["ledger.entry-made"], timeout=60)
    group = ConsumerGroup("slow-letters")
    may_go_on = threading.Event()
    send = LetterWriter._send

    def hang(*arguments: Any) -> Any:
        may_go_on.wait()
        return send(*arguments)

    monkeypatch.setattr(LetterWriter, "_send", hang)

    @group.idempotent(entry_made, on_failure=OnFailure.SAVE, retry=False)
    def fail(event: Event[EntryMade]) -> None:
        raise ValueError("no")

    service = Service([group])
    service.begin()
    wait_for(lambda: service.is_healthy)
    broker.put("ledger.entry-made", b'{"account":"a","number":1}', key=b"a")
    wait_for(lambda: not service.is_healthy)
    may_go_on.set()
    wait_for(lambda: service.is_healthy)
    assert service.stop(120)


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_service_is_not_well_without_one_of_its_threads(
    broker: Broker, declarations: None, transactional_db: None
) -> None:
    topics.create_missing(["ledger.entry-made"], timeout=60)
    group = ConsumerGroup("short")

    @group.exactly_once(entry_made)
    def note(event: Event[EntryMade]) -> None: ...

    service = Service([group])
    service.begin()
    wait_for(lambda: service.is_healthy)
    (pruner,) = [each for each in service._threads if isinstance(each, Pruner)]
    pruner.stop(0)
    wait_for(lambda: not service.is_healthy)
    assert service.stop(120)


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


def test_a_folder_that_goes_away_and_comes_back_is_logged_once_each_and_ends_nothing(
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
    for _ in range(3):
        health.touch()
    assert (folder / "health").exists()
    assert caplog.text.count("can be written again") == 1
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
