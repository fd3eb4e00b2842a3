"""P7, while the database of the handlers, or what is in front of it, goes away in the middle of their work."""

import os
import signal
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
from django.db import connection

from django_events.kafka import topics
from tests.broker import Broker
from tests.processes import Process, Site
from tests.services import REQUIRED
from tests.services.installing import Unavailable
from tests.services.pgbouncer import PgBouncer
from tests.services.postgres import PostgresServer
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

ACCOUNTS, ENTRIES = 10, 600


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresServer]:
    """A PostgreSQL for the handlers alone, which tests may crash. The senders have another."""
    with TemporaryDirectory(prefix="django-events-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # PostgreSQL and PgBouncer run as another user
        server = PostgresServer(Path(folder) / "postgres")
        with unavailable_said():
            server.prepare()
            server.restart()
        yield server
        server.stop()


@pytest.fixture
def handlers_database(database: PostgresServer, site: Site) -> Iterator[str]:
    """A database of this test's own on that server."""
    with psycopg.connect(database.address, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS handlers WITH (FORCE)")
        admin.execute("CREATE DATABASE handlers")
    address = database.address.removesuffix("/postgres") + "/handlers"
    site.run("migrate", "--verbosity=0", DATABASE_URL=address)
    yield address
    if not database.is_running():
        database.restart()


@pytest.fixture
def pgbouncer(handlers_database: str, database: PostgresServer) -> Iterator[PgBouncer]:
    settings: dict[str, Any] = {
        **connection.settings_dict,
        **{"HOST": "127.0.0.1", "PORT": database.port, "USER": "postgres", "PASSWORD": "", "NAME": "handlers"},
    }
    server = PgBouncer(database.folder.parent / "pgbouncer", settings)
    with unavailable_said():
        server.prepare()
        server.restart()
    yield server
    server.stop()


@contextmanager
def unavailable_said() -> Iterator[None]:
    """Around the start of a part that may be missing."""
    try:
        yield
    except Unavailable as error:
        (pytest.fail if os.environ.get(REQUIRED) else pytest.skip)(f"not available: {error}")


@pytest.fixture
def load(site: Site, broker: Broker) -> Iterator[Process]:
    """A process that sends entries steadily."""
    topics.create_missing(["ledger.entry-made", "ledger.entry-closed"], timeout=60)
    yield site.start("make_entries", f"--accounts={ACCOUNTS}", f"--entries={ENTRIES}", "--rate=200")


def booked(address: str) -> dict[str, list[int]]:
    """The numbers of each account in the order in which their effects were written."""
    found: dict[str, list[int]] = defaultdict(list)
    sql = "SELECT account, number FROM ledger_entry WHERE handler = 'ledger/book' ORDER BY id"
    with psycopg.connect(address) as handlers:
        for account, number in handlers.execute(sql):
            found[account].append(number)
    return found


def count(address: str) -> int:
    return sum(map(len, booked(address).values()))


def all_is_booked_once_and_in_order(address: str, site: Site, load: Process) -> None:
    load.succeeds()
    site.catch_up()
    wait_for(lambda: count(address) >= ENTRIES)
    numbers = [*range(1, ENTRIES // ACCOUNTS + 1)]
    assert booked(address) == {f"account-{number}": numbers for number in range(ACCOUNTS)}
    with psycopg.connect(address) as handlers:
        assert handlers.execute("SELECT count(*) FROM django_events_deadletter").fetchone() == (0,)


def test_postgresql_is_restarted_under_load(
    site: Site, database: PostgresServer, handlers_database: str, load: Process
) -> None:
    consumers = [site.start("consume", "ledger", DATABASE_URL=handlers_database) for _ in range(2)]
    wait_for(lambda: count(handlers_database) > 50)
    database.crash()
    database.restart()
    before = count(handlers_database)
    wait_for(lambda: count(handlers_database) > min(before, ENTRIES - 1))  # or all was booked before the crash
    database.stop()
    database.restart()
    all_is_booked_once_and_in_order(handlers_database, site, load)
    for consumer in consumers:
        consumer.signal(signal.SIGTERM)
        consumer.succeeds()


def test_pgbouncer_is_restarted_under_load_and_a_consumer_is_killed(
    site: Site, handlers_database: str, pgbouncer: PgBouncer, load: Process
) -> None:
    behind = f"{pgbouncer.address}?DISABLE_SERVER_SIDE_CURSORS=True"
    victim, survivor = (site.start("consume", "ledger", DATABASE_URL=behind) for _ in range(2))
    wait_for(lambda: count(handlers_database) > 50)
    victim.kill()  # what it has handled and not committed in Kafka comes again elsewhere
    pgbouncer.kill()
    pgbouncer.restart()
    all_is_booked_once_and_in_order(handlers_database, site, load)
    survivor.signal(signal.SIGTERM)
    survivor.succeeds()
