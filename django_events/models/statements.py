"""What the SQL of several tables shares."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connections


def fetch(using: str, sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The rows of one statement."""
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


@contextmanager
def lock_timeout(using: str, bound: str) -> Iterator[None]:
    """Bound the wait for locks inside, and set what was set before; SET LOCAL, for the sake of PgBouncer."""
    if connections[using].vendor != "postgresql":
        yield
        return
    sql = "SELECT current_setting('lock_timeout'), set_config('lock_timeout', %s, true)"
    ((before, _),) = fetch(using, sql, [bound])
    yield
    fetch(using, "SELECT set_config('lock_timeout', %s, true)", [before])  # after an error the transaction is over
