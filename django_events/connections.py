"""Django's database connections in our threads that call the site's functions, where no request looks after them, and
in our views, where a request must not."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from django.db import Error as DatabaseError
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from django_events import repeats

logger = logging.getLogger("django_events.handlers")

View = TypeVar("View", bound=Callable[..., object])


class _OfThread(threading.local):
    """What each thread has: to ask Django for it costs as much as a short call of a handler."""

    connections: Sequence[BaseDatabaseWrapper] | None = None
    """None when it may have another one since it was asked for."""


_of_thread = _OfThread()


def without_transaction(view: View) -> View:
    """ATOMIC_REQUESTS of whichever database opens none for this view: while that one is away, there would be an error
    in place of what the view has to say of it."""
    for alias in connections:
        view = transaction.non_atomic_requests(alias)(view)
    return view


def prepare_connections() -> None:
    """Before a call: forget logged queries, and replace connections that an error has left unusable. Raises nothing:
    what the database says of an old connection is no failure of who gets the new one."""
    for connection in _connections_of_thread():
        _prepare(connection)


def close_obsolete_connections() -> None:
    """When a thread has nothing to do: close connections that CONN_MAX_AGE does not let live longer."""
    for connection in connections.all(initialized_only=True):
        with suppress(DatabaseError):  # closing what the server has closed already
            connection.close_if_unusable_or_obsolete()


def drop_open_transactions() -> None:
    """After a call: end transactions that it began and left open; the next one would never be committed."""
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            _drop_open_transaction(connection)


def tidy_connections() -> None:
    """Between two calls after ``prepare_connections``: both of the above, for less than they cost."""
    known = _of_thread.connections
    for connection in _connections_of_thread() if known is None else known:
        if connection.in_atomic_block:
            _drop_open_transaction(connection)
        else:
            _prepare(connection)


def _connections_of_thread() -> Sequence[BaseDatabaseWrapper]:
    found = _of_thread.connections = connections.all(initialized_only=True)
    return found


def _ask_again(**_: object) -> None:
    _of_thread.connections = None


connection_created.connect(_ask_again)


def _prepare(connection: BaseDatabaseWrapper) -> None:
    connection.queries_log.clear()
    # As at the begin of a request, so that CONN_HEALTH_CHECKS does its work.
    connection.health_check_done = False  # type: ignore[attr-defined]
    if connection.errors_occurred or _autocommit_changed(connection) or _is_too_old(connection):
        try:
            connection.close_if_unusable_or_obsolete()
        except DatabaseError:  # it cannot even be closed
            _drop(connection)


def _drop_open_transaction(connection: BaseDatabaseWrapper) -> None:
    alias = connection.alias
    text = "A handler or callback left a transaction open in database %r; it is rolled back"
    repeats.log(logger, logging.ERROR, alias, text, alias)
    _drop(connection)  # Django's state of the connection cannot be mended


def _drop(connection: BaseDatabaseWrapper) -> None:
    """Forget the connection. Who asks for the database next gets a new one."""
    _ask_again()
    if connection in connections.all(initialized_only=True):  # the site may have forgotten it itself
        del connections[connection.alias]
    driver = connection.connection
    with suppress(Exception):
        driver.close()
    with suppress(Exception):  # without a pool there is nothing to do; a pool counts what does not come back as lent
        driver._pool.putconn(driver)


def _is_too_old(connection: BaseDatabaseWrapper) -> bool:
    """Whether CONN_MAX_AGE is over. Not where it is 0: a worker keeps its connection while it has work."""
    close_at: float | None = connection.close_at
    return bool(connection.settings_dict["CONN_MAX_AGE"]) and close_at is not None and time.monotonic() >= close_at


def _autocommit_changed(connection: BaseDatabaseWrapper) -> bool:
    return connection.connection is not None and connection.autocommit != connection.settings_dict["AUTOCOMMIT"]
