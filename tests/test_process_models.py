"""Every kind of process sends its events itself, right after their commit: nothing here runs ``catchup``."""

import os
import signal
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import pytest

from django_events.kafka import topics
from django_events.models import OutgoingEvent
from testproject.shop.models import Order
from tests.broker import Broker
from tests.processes import Process, Site
from tests.services.server import free_ports
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

TOPIC = "shop.order-placed"


@pytest.fixture(autouse=True)
def created(broker: Broker) -> None:
    topics.create_missing([TOPIC], timeout=60)


@pytest.fixture
def address() -> str:
    return f"127.0.0.1:{free_ports(1)[0]}"


def place_order(address: str, customer: str) -> None:
    form = urllib.parse.urlencode({"customer": customer, "total": "9.90"}).encode()
    with urllib.request.urlopen(f"http://{address}/orders", form, timeout=120) as answer:
        assert answer.status == 201


def place_as_soon_as_it_answers(address: str, customer: str, process: Process) -> None:
    def answers() -> bool:
        assert process.running(), process.output
        try:
            place_order(address, customer)
        except (OSError, HTTPException):
            return False
        return True

    wait_for(answers)


def wait_until_sent(site: Site, broker: Broker, customers: list[str]) -> None:
    """Each order's event is in Kafka, and once: there is nobody else to send it. Unless Kafka has needed longer for an
    answer than a round waits, of which its sender tells, or ``catchup --once``."""
    wait_for(lambda: not OutgoingEvent.objects.exists())
    found = sorted(record.payload["customer"] for record in broker.read(TOPIC))
    may_be_twice = site.has_said("It is tried again until it works") or site.has_said("CommandError")
    assert (sorted({*found}) if may_be_twice else found) == sorted(customers)


def customers_of(process: str, count: int = 12) -> list[str]:
    return [f"{process}-{number}" for number in range(count)]


PATIENT = {"EXIT_TIMEOUT": "120"}
"""For processes that end at once: what they have not sent in 2 s stays where it is, and a busy machine needs more."""

SERVERS = {
    "gunicorn": ("gunicorn", "testproject.wsgi", "--workers=2", "--bind={address}"),
    "gunicorn --preload": ("gunicorn", "testproject.wsgi", "--workers=2", "--preload", "--bind={address}"),
    "gunicorn threads": ("gunicorn", "testproject.wsgi", "--workers=1", "--threads=4", "--bind={address}"),
    "uvicorn": ("uvicorn", "testproject.asgi:application", "--host=127.0.0.1", "--port={port}"),
}


@pytest.mark.parametrize("server", SERVERS)
def test_web_servers(site: Site, broker: Broker, address: str, server: str) -> None:
    port = address.rpartition(":")[2]
    command = [part.format(address=address, port=port) for part in SERVERS[server]]
    process = site.start_module(*command)
    customers = customers_of("web")
    place_as_soon_as_it_answers(address, customers[0], process)
    with ThreadPoolExecutor(4) as visitors:  # so that each worker, and each thread, has something to do
        list(visitors.map(lambda customer: place_order(address, customer), customers[1:]))
    wait_until_sent(site, broker, customers)
    process.signal(signal.SIGTERM)
    assert process.ends() in (0, -signal.SIGTERM)


SETTINGS = """
from tests.settings import *

LOGGING["loggers"]["django.utils.autoreload"] = {"handlers": ["terminal"], "level": "DEBUG"}
"""
"""Of a server of its own: others that watch their files see no change. It tells which files it has seen."""


def test_runserver_that_reloads(site: Site, broker: Broker, address: str, tmp_path: Path) -> None:
    settings = tmp_path / "settings_that_change.py"
    settings.write_text(SETTINGS)
    process = site.start("runserver", address, DJANGO_SETTINGS_MODULE=settings.stem, PYTHONPATH=str(tmp_path))
    place_as_soon_as_it_answers(address, "before", process)
    wait_until_sent(site, broker, ["before"])
    process.says(f"{settings.name} first seen")  # what changes before that, it does not notice
    os.utime(settings)
    wait_for(lambda: process.output.count("Starting development server") == 2)
    place_as_soon_as_it_answers(address, "after", process)
    wait_until_sent(site, broker, ["after", "before"])


def test_a_celery_worker_that_forks(site: Site, broker: Broker, tmp_path: Path) -> None:
    folder = {"CELERY_FOLDER": str(tmp_path / "celery")}
    process = site.start_module(
        *("celery", "--app=tests.celery_app", "worker", "--pool=prefork", "--concurrency=2", "--loglevel=INFO"),
        **folder,
    )
    process.says("ready")
    customers = customers_of("celery")
    site.run("place_orders_with_celery", *customers, **folder)
    wait_for(lambda: Order.objects.count() == len(customers))
    wait_until_sent(site, broker, customers)


SHELL = """
from decimal import Decimal
from testproject.shop.orders import place
{lines}
"""


def test_a_shell_and_a_command_that_exit_at_once(site: Site, broker: Broker) -> None:
    lines = "\n".join(f"place({name!r}, Decimal(1))" for name in ("one", "two"))
    site.run("shell", "--command", SHELL.format(lines=lines), **PATIENT)
    site.run("place_order", "three", "1", **PATIENT)
    wait_until_sent(site, broker, ["one", "three", "two"])


def test_a_command_that_exits_while_kafka_is_away_leaves_its_events_to_catchup(site: Site, broker: Broker) -> None:
    output = site.run("place_order", "ann", "1", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert "catchup sends them" in output
    assert OutgoingEvent.objects.count() == 1
    site.catch_up()
    wait_until_sent(site, broker, ["ann"])


def test_a_process_that_is_told_not_to_send_leaves_all_to_catchup(site: Site, broker: Broker) -> None:
    site.run("place_order", "ann", "1", SEND_AFTER_COMMIT="false")
    assert OutgoingEvent.objects.count() == 1
    site.catch_up()
    wait_until_sent(site, broker, ["ann"])
