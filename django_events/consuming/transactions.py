"""Looking after the transactions of handlers: whether they can still be committed."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from django.db import Error as DatabaseError
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_events.exceptions import HandlerTransactionBroken
from django_events.handlers import Handler


def check_unbroken(connection: BaseDatabaseWrapper, driver: Any, handler: Handler) -> None:
    """Raise HandlerTransactionBroken unless the transaction that began on ``driver`` can still be committed.

    Django's ``atomic`` ends without an exception when the handler caught a database error or closed the connection,
    and everything is rolled back. Asks no server.
    """
    problem = _problem(connection, driver)
    if problem:
        raise HandlerTransactionBroken(f"Handler {handler} returned, but {problem}. None of its effects is committed.")


_ENDS = re.compile(r"\s*(COMMIT|END|ROLLBACK|ABORT|PREPARE\s+TRANSACTION)\b(?!\s+((WORK|TRANSACTION)\s+)?TO\b)", re.I)
"""A statement that ends a transaction, and not one of its savepoints."""


def refusing_its_end(connection: BaseDatabaseWrapper, handler: Handler) -> AbstractContextManager[None]:
    """While this is open, a statement that would end the transaction raises HandlerTransactionBroken. After a COMMIT
    the driver begins another transaction by itself, so that nobody would notice."""

    def execute(run: Callable[..., Any], sql: Any, *arguments: Any) -> Any:
        if isinstance(sql, str) and (found := _ENDS.match(sql)):
            raise HandlerTransactionBroken(
                f"Handler {handler} executes {found[1].upper()}, but its transaction is ended for it, together with "
                "the mark that its event is processed. Remove the statement, or make the handler idempotent."
            )
        return run(sql, *arguments)

    return connection.execute_wrapper(execute)


def works(using: str) -> bool:
    """Whether a new connection to this database can be had at once."""
    connection = connections[using]
    try:
        connection.close()
        connection.ensure_connection()
        return connection.is_usable()
    except DatabaseError:
        return False


_IN_TRANSACTION = 2
"""PQTRANS_INTRANS of libpq: psycopg's enumeration would be imported anew for each event, as not every site has it."""


def _problem(connection: BaseDatabaseWrapper, driver: Any) -> str | None:
    if connection.closed_in_transaction or connection.connection is not driver or not connection.in_atomic_block:
        return (
            "it closed the database connection (connection.close() or close_old_connections()) inside the "
            "transaction that it runs in. Do not close connections in a handler"
        )
    if connection.needs_rollback:
        return (
            "its transaction is to be rolled back: it caught a database error without a transaction.atomic() of its "
            "own around the failing statement, or called set_rollback(True)"
        )
    if not _can_commit(connection, driver):
        return (
            "the database has ended or aborted its transaction: it caught the error of a statement without a "
            "transaction.atomic() of its own around it, or executed ROLLBACK itself"
        )
    return None


def _can_commit(connection: BaseDatabaseWrapper, driver: Any) -> bool:
    """What the driver knows of the transaction, without asking the server."""
    if connection.vendor == "postgresql":
        return bool(driver.pgconn.transaction_status == _IN_TRANSACTION)
    if connection.vendor == "sqlite":
        return bool(driver.in_transaction)
    return True
