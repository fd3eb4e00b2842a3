"""What databases say when transactions are in each other's way is told apart from every other error."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from django.db import DatabaseError, OperationalError, connection, connections, transaction

from django_events.models.conflicts import Conflict, conflict_of, may_work_at_once
from tests.ledger.models import Account
from tests.waiting import wait_for

Failing = Callable[[], None]


@pytest.fixture
def accounts(transactional_db: None) -> None:
    for name in ("ann", "bob"):
        Account.objects.create(name=name)


@pytest.fixture
def other() -> Iterator[psycopg.Connection]:
    """A second transaction."""
    database = connection.settings_dict
    names = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "NAME"}
    with psycopg.connect(**{name: database[key] for name, key in names.items()}) as other:
        yield other
        other.rollback()


def lock(name: str) -> None:
    Account.objects.select_for_update().get(name=name)


def lock_sql(name: str) -> bytes:
    return f"SELECT 1 FROM ledger_account WHERE name = '{name}' FOR UPDATE".encode()


def error_of(failing: Failing) -> OperationalError:
    with pytest.raises(OperationalError) as raised, transaction.atomic():
        failing()
    return raised.value


@pytest.mark.postgres
def test_a_deadlock(accounts: None, other: psycopg.Connection) -> None:
    other.execute("SET LOCAL deadlock_timeout = '10min'")  # so that the victim is not this one
    other.execute(lock_sql("bob"))
    waiting = threading.Thread(target=other.execute, args=[lock_sql("ann")])

    def waits() -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = %s", [other.info.backend_pid])
            return bool(cursor.fetchone()[0])

    def cross() -> None:
        lock("ann")
        waiting.start()
        wait_for(waits)  # PostgreSQL looks for a deadlock once, a second after we have begun to wait
        lock("bob")

    error = error_of(cross)
    waiting.join()
    assert conflict_of(error) is Conflict.DEADLOCK
    assert may_work_at_once(error)


@pytest.mark.postgres
def test_a_serialization_failure(accounts: None, other: psycopg.Connection) -> None:
    def write_over() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        account = Account.objects.get(name="ann")
        other.execute("UPDATE ledger_account SET last = 5 WHERE name = 'ann'")
        other.commit()
        account.save()

    error = error_of(write_over)
    assert conflict_of(error) is Conflict.SERIALIZATION
    assert may_work_at_once(error)


@pytest.mark.postgres
@pytest.mark.parametrize("nowait", [True, False])
def test_a_lock_that_is_not_waited_for(accounts: None, other: psycopg.Connection, nowait: bool) -> None:
    other.execute(lock_sql("ann"))

    def wait_a_moment() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '10ms'")
        Account.objects.select_for_update(nowait=nowait).get(name="ann")

    error = error_of(wait_a_moment)
    assert conflict_of(error) is Conflict.LOCK_TIMEOUT
    assert not may_work_at_once(error)


@pytest.mark.postgres
def test_other_errors_of_the_database_are_none(transactional_db: None) -> None:
    def take_too_long() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '10ms'")
            cursor.execute("SELECT pg_sleep(10)")

    assert conflict_of(error_of(take_too_long)) is None
    unreachable = connections.create_connection("default")
    unreachable.settings_dict = {**connection.settings_dict, "PORT": "1"}
    with pytest.raises(OperationalError) as refused:
        unreachable.ensure_connection()
    assert conflict_of(refused.value) is None


@pytest.mark.postgres
def test_what_a_handler_makes_of_it_is_still_it(accounts: None, other: psycopg.Connection) -> None:
    other.execute(lock_sql("ann"))
    with pytest.raises(ValueError) as raised, transaction.atomic():
        try:
            Account.objects.select_for_update(nowait=True).get(name="ann")
        except DatabaseError as error:
            raise ValueError("no luck") from error
    assert conflict_of(raised.value) is Conflict.LOCK_TIMEOUT


def test_sqlite(tmp_path: Path) -> None:
    file = tmp_path / "db"
    with closing(sqlite3.connect(file, timeout=0)) as one, closing(sqlite3.connect(file, timeout=0)) as two:
        one.execute("PRAGMA journal_mode=WAL")
        one.execute("CREATE TABLE t (x)")
        one.execute("INSERT INTO t VALUES (1)")
        one.commit()
        two.execute("BEGIN")
        two.execute("SELECT * FROM t").fetchall()
        one.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="database is locked") as busy:
            two.execute("INSERT INTO t VALUES (2)")
        assert conflict_of(_djangos(busy.value)) is Conflict.LOCK_TIMEOUT
        one.execute("INSERT INTO t VALUES (3)")
        one.commit()
        with pytest.raises(sqlite3.OperationalError) as outdated:
            two.execute("INSERT INTO t VALUES (2)")
        assert conflict_of(_djangos(outdated.value)) is Conflict.SERIALIZATION
        with pytest.raises(sqlite3.OperationalError) as wrong:
            two.execute("SELECT * FROM nowhere")
        assert conflict_of(_djangos(wrong.value)) is None


@pytest.mark.parametrize(
    ("number", "conflict"), [(1213, Conflict.DEADLOCK), (1205, Conflict.LOCK_TIMEOUT), (2006, None), (1062, None)]
)
@pytest.mark.parametrize("driver", ["MySQLdb", "pymysql.err"])
def test_mysql(driver: str, number: int, conflict: Conflict | None) -> None:
    its_error = type("OperationalError", (Exception,), {"__module__": driver})
    assert conflict_of(_djangos(its_error(number, "its text"))) is conflict


def test_errors_of_no_database() -> None:
    assert conflict_of(ValueError(1213)) is None
    circular = ValueError("itself")
    circular.__cause__ = circular
    assert conflict_of(circular) is None


def _djangos(error: Exception) -> OperationalError:
    """As Django passes on an error of its driver."""
    found = OperationalError(*error.args)
    found.__cause__ = error
    return found
