"""The demo runs on parts that it brings along, and ends well only if every event took effect once."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from testproject.billing.models import Invoice
from testproject.demo.balance import Balance
from testproject.mail.models import Confirmation
from tests.processes import ROOT
from tests.running_demo import environment, running
from tests.test_events_command import letter
from tests.waiting import wait_for


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
