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
    return list(_binary_cursor(using, sql, params).fetchall())


def execute_binary(using: str, sql: str, params: Sequence[Any]) -> None:
    """One statement on PostgreSQL that gives no rows, with its parameters in the binary format."""
    _binary_cursor(using, sql, params)


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
