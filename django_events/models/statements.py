"""What the SQL of several tables shares."""

from collections.abc import Sequence
from typing import Any

from django.db import connections


def fetch(using: str, sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The rows of one statement."""
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


def fetch_binary(using: str, sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The rows of one statement on PostgreSQL, in its binary format: bytes are not turned into hex and back."""
    with _binary_cursor(using, sql, params) as cursor:  # open, it would keep the answer until Python looks for garbage
        return list(cursor.fetchall())


def execute_binary(using: str, sql: str, params: Sequence[Any]) -> None:
    """One statement on PostgreSQL that gives no rows, with its parameters in the binary format."""
    _binary_cursor(using, sql, params).close()


def begin(using: str, statements: Sequence[str], params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Begin the transaction on PostgreSQL that Django takes for begun (``atomic``), with these statements, in one
    message and one answer; the rows of the last. READ COMMITTED, whatever the connection is set to.

    By itself psycopg sends BEGIN before the first statement, and waits for the answer: in a process whose other threads
    keep Python busy, each answer may be some milliseconds late. In a transaction that has begun, nothing else is begun.
    """
    from psycopg import ClientCursor
    from psycopg.pq import TransactionStatus

    wrapper = connections[using]
    wrapper.ensure_connection()
    connection = wrapper.connection
    with wrapper.wrap_database_errors:
        if connection.info.transaction_status == TransactionStatus.IDLE:
            connection.autocommit = True  # so psycopg sends no BEGIN of its own; Django commits all the same
            first = "BEGIN ISOLATION LEVEL READ COMMITTED"
        else:
            first = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
        with ClientCursor(connection) as cursor:
            cursor.execute("; ".join([first, *statements]), params)
            while cursor.nextset():
                pass
            return list(cursor.fetchall())


def _binary_cursor(using: str, sql: str, params: Sequence[Any]) -> Any:
    """Django's own cursor puts parameters into the text of a statement, and gets text back."""
    from psycopg import Cursor

    wrapper = connections[using]
    wrapper.ensure_connection()
    with wrapper.wrap_database_errors:
        return Cursor(wrapper.connection).execute(sql, params, prepare=False, binary=True)


def bound_statements(using: str, seconds: float) -> None:
    """End each statement of this transaction that takes longer. PostgreSQL only; others have no such bound."""
    if connections[using].vendor == "postgresql":
        fetch(using, "SELECT set_config('statement_timeout', %s, true)", [f"{seconds * 1000:.0f}ms"])
