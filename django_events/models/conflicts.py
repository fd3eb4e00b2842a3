"""Tells errors that come from other transactions at the same time from all that can go wrong with a database.

Knows what the driver of each database says; asks no server.
"""

from collections.abc import Iterator
from enum import Enum

from django.db import Error as DatabaseError


class Conflict(Enum):
    """Why a transaction had to give way to others."""

    DEADLOCK = "deadlock"
    SERIALIZATION = "serialization failure"
    LOCK_TIMEOUT = "lock time-out"


_BY_SQLSTATE = {
    "40P01": Conflict.DEADLOCK,
    "40001": Conflict.SERIALIZATION,
    "55P03": Conflict.LOCK_TIMEOUT,
}
"""PostgreSQL's codes. 55P03 is that of lock_timeout and of NOWAIT."""

_BY_MYSQL_NUMBER = {
    1213: Conflict.DEADLOCK,
    1205: Conflict.LOCK_TIMEOUT,
}

_BY_SQLITE_NAME = {
    "SQLITE_BUSY": Conflict.LOCK_TIMEOUT,
    "SQLITE_BUSY_SNAPSHOT": Conflict.SERIALIZATION,
    "SQLITE_LOCKED": Conflict.LOCK_TIMEOUT,
}


_WORKS_AT_ONCE = frozenset({Conflict.DEADLOCK, Conflict.SERIALIZATION})
"""The database ends these at once and rolls back; a lock time-out has waited already, and will wait again."""


def conflict_of(error: BaseException) -> Conflict | None:
    """The conflict that this error is, or comes from; None if it is about anything else."""
    return next((found for each in causes_of(error) if (found := _conflict(each))), None)


def may_work_at_once(error: BaseException) -> bool:
    """Whether it is a deadlock or a serialization failure, so that the same transaction is to be tried again now."""
    return conflict_of(error) in _WORKS_AT_ONCE


def _conflict(error: BaseException) -> Conflict | None:
    """What one error says. Django's own error has the driver's as its cause; the driver's has the code."""
    if isinstance(error, DatabaseError):
        return None
    sqlstate = getattr(error, "sqlstate", None)
    if isinstance(sqlstate, str):
        return _BY_SQLSTATE.get(sqlstate)
    sqlite_name = getattr(error, "sqlite_errorname", None)
    if isinstance(sqlite_name, str):
        return _BY_SQLITE_NAME.get(sqlite_name)
    if _is_of_mysql(error) and error.args:
        return _BY_MYSQL_NUMBER.get(error.args[0])
    return None


def _is_of_mysql(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in ("MySQLdb", "pymysql")


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it comes from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))  # "raise error from error" makes a circle
        error = error.__cause__ or error.__context__
