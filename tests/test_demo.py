"""The demo runs on parts that it brings along, and ends well only if every event took effect once."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testproject.billing.models import Invoice
from testproject.demo.balance import Balance
from testproject.mail.models import Confirmation
from tests.processes import ROOT
from tests.test_events_command import letter
from tests.waiting import wait_for


def environment(env: dict[str, str]) -> dict[str, str]:
    ours = ("DATABASE_URL", "DJANGO_SETTINGS_MODULE", "KAFKA_BOOTSTRAP_SERVERS")
    return {name: value for name, value in os.environ.items() if name not in ours} | env


def demo(**env: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "manage.py", "demo", "--once"]
    return subprocess.run(command, cwd=ROOT, env=environment(env), capture_output=True, text=True, timeout=600)


def test_the_demo_needs_nothing_and_shows_every_event_arrive_once() -> None:
    done = demo()
    assert done.returncode == 0, done.stdout + done.stderr
    # One has nobody else to send it; catchup may be the first at others, too.
    assert re.search("8 orders placed, 8 events sent and handled, [1-8] of them sent by catchup", done.stdout)
    assert "dead letter 1 of billing/make_invoice: order 8 has a total of 0.00" in done.stdout
    assert re.search("order 8 +dead letter 1 is .*retried → billing/make_invoice → resolved", done.stdout)
    assert "dead letters: 1, resolved: 1, discarded: 0" in done.stdout
    assert done.stdout.rstrip().endswith("Every event arrived and took effect once.")


def test_the_demo_fails_if_an_event_never_arrives() -> None:
    # The process that tells the story dies at the commit of its fourth order.
    done = demo(DJANGO_EVENTS_CRASH_AT="committed-before-wake:4")
    assert done.returncode == 1
    assert "took effect once" not in done.stdout


@pytest.mark.django_db
def test_the_balance_leaves_out_what_waits_as_a_dead_letter_and_nothing_else() -> None:
    for order in (1, 2):
        Confirmation.objects.create(order_id=order)
    Invoice.objects.create(order_id=1, total=1)
    assert not Balance([1, 2], [], []).is_even()
    waiting = letter(key_text="2")
    assert Balance([1, 2], [], [waiting]).is_even()
    assert not Balance([1, 2], [], [waiting]).is_all_resolved()
    Invoice.objects.create(order_id=1, total=1)
    assert not Balance([1, 2], [], [waiting]).is_even()


class Running:
    """The demo that goes on until it is stopped."""

    def __init__(self, output: Path) -> None:
        self._output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "demo"],
                cwd=ROOT,
                env=environment({"TMPDIR": str(output.parent)}),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def says(self, pattern: str) -> "re.Match[str]":
        """Wait until the output has this."""
        wait_for(lambda: re.search(pattern, self.output) or self.process.poll() is not None)
        found = re.search(pattern, self.output)
        assert found, self.output
        return found

    def has_ended_everything(self) -> bool:
        numbers = re.findall(r"runs as process (\d+)", self.output)
        assert len(numbers) == 3, self.output
        return not any(is_running(int(number)) for number in numbers)


def is_running(pid: int) -> bool:
    """Whether there is such a process that is not just waiting to be buried."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def running(folder: Path) -> Iterator[Running]:
    demo = Running(folder / "demo.log")
    try:
        yield demo
    finally:
        if demo.process.poll() is None:
            os.killpg(demo.process.pid, signal.SIGKILL)
        demo.process.wait()


def test_the_demo_has_a_web_site_and_ends_in_good_order_with_ctrl_c(tmp_path: Path) -> None:
    with running(tmp_path) as demo:
        address = demo.says(r"The admin: (http://127.0.0.1:\d+/\S+)   user operator, password \w+").group(1)
        with urllib.request.urlopen(address, timeout=120) as page:
            assert b"Username" in page.read()
        demo.says(r"until you press Ctrl-C:\norder ")
        os.killpg(demo.process.pid, signal.SIGINT)  # as a terminal does
        assert demo.process.wait(300) == 0, demo.output
        assert "\nEvery event arrived and took effect once" in demo.output
        wait_for(demo.has_ended_everything)


def test_the_demo_can_be_interrupted_in_the_middle(tmp_path: Path) -> None:
    with running(tmp_path) as demo:
        demo.says("what becomes of their events")
        os.killpg(demo.process.pid, signal.SIGINT)
        assert demo.process.wait(300) == 130, demo.output
        assert "Traceback" not in demo.output
        wait_for(demo.has_ended_everything)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends processes with their parent")
def test_nothing_of_the_demo_outlives_it(tmp_path: Path) -> None:
    with running(tmp_path) as demo:
        demo.says("what becomes of their events")
        demo.process.kill()
        demo.process.wait()
        wait_for(demo.has_ended_everything)


@pytest.mark.kafka
@pytest.mark.postgres
def test_the_demo_uses_the_kafka_and_the_database_that_it_is_given(transactional_db: None) -> None:
    from django.db import connection

    database = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
    servers = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
    done = demo(DATABASE_URL=database, KAFKA_BOOTSTRAP_SERVERS=servers)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Kafka at {servers}\n" in done.stdout
    assert f"PostgreSQL at {connection.settings_dict['NAME']}" in done.stdout
