"""Under a test runner nothing is sent: no thread, no Kafka, no connection; what was saved can be looked at."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from django_events.producing.relay import relay
from django_events.testing import saved_events
from testproject.shop import orders
from tests.processes import ROOT


@pytest.fixture(autouse=True)
def no_thread_starts() -> Iterator[None]:
    """Those of earlier tests may be about to end."""
    before = threading.enumerate()
    yield
    new = [thread.name for thread in threading.enumerate() if thread not in before]
    assert not [name for name in new if name.startswith("django-events")]


@pytest.mark.django_db
def test_in_a_transaction_of_the_test_rows_can_be_looked_at(client: Any) -> None:
    answer = client.post("/orders", {"customer": "ann", "total": "9.90"})
    (row,) = saved_events("shop.order-placed")
    assert row.key == str(answer.json()["order"]).encode()


@pytest.mark.django_db(transaction=True)
def test_committed_events_stay_in_the_outbox() -> None:
    with transaction.atomic():
        orders.place("ann", 5)  # type: ignore[arg-type]
    assert len(saved_events()) == 1


@pytest.mark.django_db
def test_hooks_that_a_test_runs_send_nothing(django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        orders.place("ann", 5)  # type: ignore[arg-type]
    assert not callbacks


def test_a_page_that_is_wrong_about_its_input_says_so(client: Any) -> None:
    for wrong in ({"customer": "ann"}, {"customer": "ann", "total": "x"}, {"customer": "", "total": "1"}):
        assert client.post("/orders", wrong).status_code == 400


def test_under_djangos_own_runner_nothing_is_sent_either(tmp_path: Path) -> None:
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "testproject.settings",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    }
    command = [sys.executable, "manage.py", "test", "--noinput", "tests.djangos_runner"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Ran 4 tests" in done.stderr
    assert "Kafka" not in done.stderr


def test_importing_the_package_loads_neither_models_nor_librdkafka() -> None:
    code = (
        "import sys, django_events; "
        "assert not {'confluent_kafka', 'django_events.models', 'django.db.models'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_site_whose_mails_stay_in_memory_is_not_taken_for_a_test(tmp_path: Path) -> None:
    code = (
        "import django; django.setup()\n"
        "from django.core import mail\n"
        "from django_events.producing.in_tests import nothing_is_sent\n"
        "mail.send_mail('a', 'b', 'ann@example.com', ['bob@example.com'],"
        " connection=mail.get_connection('django.core.mail.backends.locmem.EmailBackend'))\n"
        "assert mail.outbox and not nothing_is_sent()"
    )
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "testproject.settings",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    }
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, check=True, timeout=300)


def test_no_thread_was_started_by_any_of_this() -> None:
    assert relay._thread is None
