"""The demo runs on parts that it brings along, and ends well only if every event took effect once."""

import os
import re
import subprocess
import sys

import pytest

from tests.processes import ROOT


def demo(**env: str) -> "subprocess.CompletedProcess[str]":
    given = {
        name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "DJANGO_SETTINGS_MODULE")
    }
    given.pop("KAFKA_BOOTSTRAP_SERVERS", None)
    command = [sys.executable, "manage.py", "demo", "--once"]
    return subprocess.run(command, cwd=ROOT, env=given | env, capture_output=True, text=True, timeout=120)


def test_the_demo_needs_nothing_and_shows_every_event_arrive_once() -> None:
    done = demo()
    assert done.returncode == 0, done.stdout + done.stderr
    # One has nobody else to send it; catchup may be the first at others, too.
    assert re.search("7 orders placed, 7 events sent and handled, [1-7] of them sent by catchup", done.stdout)
    assert done.stdout.rstrip().endswith("Every event arrived and took effect once.")


def test_the_demo_fails_if_an_event_never_arrives() -> None:
    # The process that tells the story dies at the commit of its fourth order.
    done = demo(DJANGO_EVENTS_CRASH_AT="committed-before-wake:4")
    assert done.returncode == 1
    assert "took effect once" not in done.stdout


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
