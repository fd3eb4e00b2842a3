"""The databases of runs are made and dropped."""

import psycopg
from psycopg.errors import ObjectInUse

from tests.waiting import wait_for


def execute(server: str, statement: str) -> None:
    """Execute the statement as soon as nobody uses the databases that it makes copies of or drops: PostgreSQL has a
    process for each connection, which may take a while to end."""

    def is_executed() -> bool:
        with psycopg.connect(server, autocommit=True, connect_timeout=120) as connection:
            try:
                connection.execute(statement)
            except ObjectInUse:
                return False
        return True

    wait_for(is_executed)
