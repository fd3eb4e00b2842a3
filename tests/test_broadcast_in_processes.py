"""Broadcast handlers in real servers and in ``manage.py consume``: each process sees each event."""

import io
import json
import os
import signal
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import pytest
from django.core.management import call_command

from django_events import Event, broadcast, handlers
from django_events.kafka import topics
from tests.broker import Broker
from tests.fixtures import make_site
from tests.ledger.events import EntryMade, entry_made
from tests.processes import Process, Site, stacks_of
from tests.services.kafka import KafkaServer
from tests.services.server import free_ports
from tests.waiting import wait_for

TOPIC = "ledger.entry-made"


@pytest.fixture
def created(broker: Broker) -> None:
    topics.create_missing([TOPIC], timeout=60)


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    folder = tmp_path / "lines"
    folder.mkdir()
    return folder


def env_of(lines: Path, **more: str) -> dict[str, str]:
    return {"DJANGO_SETTINGS_MODULE": "tests.web.settings", "LINES": str(lines), **more}


def put(broker: Broker, number: int) -> None:
    broker.put(TOPIC, b'{"account":"a","number":%d}' % number, key=b"ann")


def read(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def live_processes(port: int, server: Process) -> set[int]:
    """The processes that have answered and say that they are live."""

    def ask(_: int) -> int | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
                told = json.load(answer)
        except (OSError, HTTPException):
            return None
        return int(told["process"]) if told["is_live"] else None

    assert server.running(), server.output
    with ThreadPoolExecutor(8) as pool:
        return {process for process in pool.map(ask, range(16)) if process}


def processes_when_all_are_live(port: int, server: Process, count: int) -> set[int]:
    """Wait until so many processes of the server have said that they are live."""
    found: set[int] = set()

    def all_are_live() -> bool:
        found.update(live_processes(port, server))
        return len(found) == count

    wait_for(all_are_live)
    return found


def wait_until_all_have(numbers: list[int], processes: set[int], lines: Path, server: Process) -> None:
    """Wait until each process has left a line for each of these events, and no other."""

    def have() -> dict[int, list[int]]:
        return {process: read(lines / str(process)) for process in processes}

    try:
        wait_for(lambda: all(found == numbers for found in have().values()))
    except AssertionError as error:
        lacking = [process for process, found in have().items() if found != numbers]
        stacks = "\n".join(map(stacks_of, lacking))
        raise AssertionError(f"processes have {have()}; of those that lack some:\n{stacks}\n{server.output}") from error


GUNICORN = ("gunicorn", "tests.web.wsgi", "--timeout=600", "--bind=127.0.0.1:{port}")
"""It shall not end workers because the machine is busy."""

SERVERS: dict[str, tuple[int, tuple[str, ...], dict[str, str]]] = {
    "gunicorn": (4, (*GUNICORN, "--workers=4"), {}),
    "gunicorn --preload": (4, (*GUNICORN, "--workers=4", "--preload"), {}),
    "gunicorn --preload and the setting": (2, (*GUNICORN, "--workers=2", "--preload"), {"START_BROADCAST": "true"}),
    "uvicorn": (1, ("uvicorn", "tests.web.asgi:application", "--port={port}"), {}),
}


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.parametrize("kind", SERVERS)
def test_each_process_of_a_server_sees_each_event(
    site: Site, broker: Broker, created: None, lines: Path, kind: str
) -> None:
    count, command, env = SERVERS[kind]
    (port,) = free_ports(1)
    server = site.start_module(*[part.format(port=port) for part in command], **env_of(lines, **env))
    processes = processes_when_all_are_live(port, server, count)
    for number in range(20):
        put(broker, number)
    wait_until_all_have([*range(20)], processes, lines, server)
    if kind == "gunicorn --preload and the setting":
        assert {int(each.name) for each in lines.iterdir()} == processes
    server.signal(signal.SIGTERM)
    assert server.ends() in (0, -signal.SIGTERM)
    assert "Traceback" not in server.output


OUTAGE = 30.0
"""Seconds for which Kafka is away."""

IN_AN_OUTAGE = {
    "gunicorn": (2, (*GUNICORN, "--workers=2")),
    "uvicorn": (1, ("uvicorn", "tests.web.asgi:application", "--port={port}")),
}


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.parametrize(
    ("kind", "is_missed"),
    [
        pytest.param("gunicorn", True, id="gunicorn, something missed"),
        pytest.param("uvicorn", False, id="uvicorn, nothing missed"),
        pytest.param("gunicorn", False, id="gunicorn, nothing missed", marks=pytest.mark.long),
        pytest.param("uvicorn", True, id="uvicorn, something missed", marks=pytest.mark.long),
    ],
)
def test_after_an_outage_each_process_is_live_again_and_tells_whether_something_was_missed(
    kafka_server: KafkaServer,
    fragile: Broker,
    transactional_db: None,
    lines: Path,
    tmp_path: Path,
    kind: str,
    is_missed: bool,
) -> None:
    """Where something is missed, the processes stand still, too, until Kafka has deleted what they have not read."""
    wait_for(lambda: topics.create_missing([TOPIC], timeout=60))
    count, command = IN_AN_OUTAGE[kind]
    (port,) = free_ports(1)
    site = make_site(fragile, tmp_path)
    server = site.start_module(*[part.format(port=port) for part in command], **env_of(lines, BROADCAST_HEARTBEAT="1"))

    def put_into_first(number: int) -> None:
        fragile.put(TOPIC, b'{"account":"a","number":%d}' % number, key=b"ann", partition=0)

    def gaps_of(process: int) -> list[str]:
        file = lines / f"{process}-gaps"
        return file.read_text().splitlines() if file.exists() else []

    try:
        processes = processes_when_all_are_live(port, server, count)
        put_into_first(1)
        wait_until_all_have([1], processes, lines, server)

        kafka_server.kill()
        over_at = time.monotonic() + OUTAGE
        if is_missed:
            os.killpg(server.pid, signal.SIGSTOP)
        else:
            wait_for(lambda: not live_processes(port, server))
        wait_for(lambda: time.monotonic() >= over_at)
        kafka_server.restart()
        put_into_first(2)
        put_into_first(3)
        if is_missed:
            fragile.delete_records(TOPIC, partition=0, before=2)
            os.killpg(server.pid, signal.SIGCONT)

        expected, gaps = ([1, 3], ["1 to 2"]) if is_missed else ([1, 2, 3], [])
        wait_until_all_have(expected, processes, lines, server)
        assert [gaps_of(process) for process in processes] == [gaps] * count
        wait_for(lambda: live_processes(port, server) == processes)
    finally:
        site.end()


SCRIPT = """
from django_events import broadcast_is_live, start_broadcast
start_broadcast()
print("started", broadcast_is_live())
"""


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.parametrize("kafka", ["there", "away"])
def test_it_never_keeps_a_process_alive(site: Site, broker: Broker, created: None, lines: Path, kafka: str) -> None:
    away = {} if kafka == "there" else {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    output = site.run("shell", "--command", SCRIPT, **env_of(lines, **away))
    assert ("started False" if away else "started ") in output  # a slow machine may have heard of Kafka by then
    assert "Fatal" not in output


@pytest.mark.kafka
@pytest.mark.postgres
def test_consume_runs_them_along(site: Site, broker: Broker, created: None, lines: Path) -> None:
    health = lines.parent / "health"
    consumer = site.start("consume", "audit", f"--health-file={health}", **env_of(lines))
    without = site.start("consume", "clinic", "--no-broadcast", **env_of(lines))
    consumer.says("broadcast: reads ledger.entry-made from now on")
    without.says("got ledger.entry-made")
    put(broker, 1)
    wait_for(lambda: read(lines / str(consumer.pid)) == [1])
    wait_for(health.exists)
    for process in (consumer, without):
        process.signal(signal.SIGTERM)
        process.succeeds()
    assert [each.name for each in lines.iterdir()] == [str(consumer.pid)]


@pytest.mark.kafka
@pytest.mark.postgres
def test_consume_may_have_no_group_but_broadcast_handlers(
    site: Site, broker: Broker, created: None, lines: Path
) -> None:
    excluded = [f"--exclude={group.name}" for group in handlers.declared()]
    health = lines.parent / "health"
    consumer = site.start("consume", *excluded, f"--health-file={health}", **env_of(lines))
    consumer.says("broadcast: reads ledger.entry-made from now on")
    put(broker, 1)
    wait_for(lambda: read(lines / str(consumer.pid)) == [1])
    wait_for(health.exists)
    consumer.signal(signal.SIGTERM)
    consumer.succeeds()


def test_the_page_of_consume_tells_of_them(declarations: None) -> None:
    def empty_the_cache(gap: object) -> None: ...

    @broadcast(entry_made, on_gap=empty_the_cache)
    def forget(event: Event[EntryMade]) -> None: ...

    out = io.StringIO()
    call_command("consume", "audit", "--list", stdout=out)
    assert "broadcast: every event that is sent from now on" in out.getvalue()
    assert "dropped after 30 s" in out.getvalue()
    out = io.StringIO()
    call_command("consume", "audit", "--list", "--json", stdout=out)
    (told,) = json.loads(out.getvalue())["broadcast"]
    assert (told["handler"], told["topics"], told["timeout"]) == ("forget", [TOPIC], 30.0)
    assert told["on_gap"].endswith("empty_the_cache")
    out = io.StringIO()
    call_command("consume", "audit", "--list", "--no-broadcast", stdout=out)
    assert "broadcast" not in out.getvalue()
