"""What a run costs the servers: statements, bytes of the write-ahead log, dead tuples, processor time."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from benchmarks.place import OURS

OWN_LOOK = "benchmark_looks"
"""A name in each statement of ours, by which it is not counted."""


def own_look(select: str) -> str:
    """The same question, not counted. As a table's name it is part of what pg_stat_statements tells statements apart
    by, which a column's name is not: of two that differ in that alone it keeps the text of whichever came first."""
    return f"WITH {OWN_LOOK} AS ({select}) SELECT * FROM {OWN_LOOK}"


STATEMENTS = own_look(
    f"""
    SELECT coalesce(sum(calls), 0)::bigint, coalesce(sum(wal_bytes), 0)::bigint FROM pg_stat_statements
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND query NOT LIKE '%{OWN_LOOK}%'
    """
)
DEAD_TUPLES = own_look("SELECT coalesce(sum(n_tup_upd + n_tup_del), 0)::bigint FROM pg_stat_user_tables")
WAL = own_look("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
OTHERS = own_look(
    f"""
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
    AND backend_type = 'client backend' AND application_name <> '{OURS}'
    """
)
HAS_STATEMENTS = own_look("SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'")
CLEAR_SNAPSHOT = own_look("SELECT pg_stat_clear_snapshot()::text")

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Counts:
    """Counters of one database; the difference of two is what happened between."""

    statements: int | None
    """As PostgreSQL counts them, BEGIN and COMMIT too; None where it does not (pg_stat_statements is not loaded)."""
    wal: int
    """Bytes, of the whole server."""
    dead_tuples: int
    """Rows that were updated or deleted."""
    wal_of_statements: int | None = None
    """Bytes of the log that the statements of this database wrote, without what ends their transactions; None as
    ``statements``. For a server that others use at the same time."""

    def since(self, before: "Counts") -> "Counts":
        return Counts(
            _difference(self.statements, before.statements),
            self.wal - before.wal,
            self.dead_tuples - before.dead_tuples,
            _difference(self.wal_of_statements, before.wal_of_statements),
        )


def can_count_statements(connection: Connection) -> bool:
    """Whether the connection's database has pg_stat_statements; creates it if the server has loaded it."""
    if _one(connection, own_look("SELECT current_setting('shared_preload_libraries') LIKE '%pg_stat_statements%'")):
        connection.execute(f"/* {OWN_LOOK} */ CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    return bool(_one(connection, HAS_STATEMENTS))


def counts(connection: Connection) -> Counts:
    """The counters of the connection's database. Those of open connections may still lag behind."""
    connection.execute(CLEAR_SNAPSHOT)
    statements, their_wal = _row(connection, STATEMENTS) if _one(connection, HAS_STATEMENTS) else (None, None)
    return Counts(statements, int(_one(connection, WAL)), int(_one(connection, DEAD_TUPLES)), their_wal)


def wait_for_others(connection: Connection, timeout: float = 30.0) -> None:
    """Wait until nobody else is connected: only then has everybody told the server what he did."""
    deadline = time.monotonic() + timeout
    while _one(connection, OTHERS):
        assert time.monotonic() < deadline, "somebody stays connected to the database of a run that is over"
        time.sleep(0.01)


def _difference(after: int | None, before: int | None) -> int | None:
    return None if after is None or before is None else after - before


def _one(connection: Connection, sql: str) -> Any:
    return _row(connection, sql)[0]


def _row(connection: Connection, sql: str) -> tuple[Any, ...]:
    row = connection.execute(sql).fetchone()
    assert row
    return row


def servers_cpu(database: str, bootstrap_servers: str) -> dict[str, float]:
    """Seconds of processor that the servers have used so far; none of a server on another machine."""
    ports = {"PostgreSQL": urlsplit(database).port or 5432, "Kafka": urlsplit(f"//{bootstrap_servers}").port or 9092}
    listeners = {name: listening_on(port) for name, port in ports.items()}
    return {name: cpu_of_tree(pid) for name, pid in listeners.items() if pid}


def listening_on(port: int) -> int | None:
    """The process that listens on this port of ours; the oldest, where children have it, too."""
    inode = next(_listening_sockets(port), None)
    holders = [pid for pid in _pids() if inode and f"socket:[{inode}]" in open_files(pid)]
    return min(holders, key=lambda pid: int(_stat(pid)[19]), default=None)


def _listening_sockets(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def cpu_of_tree(root: int) -> float:
    """Seconds of processor of a process, its children that have ended, and its descendants."""
    ticks = sum(sum(map(int, stat[11:15])) for stat in _tree(root).values())
    return ticks / os.sysconf("SC_CLK_TCK")


def tree_of(root: int) -> set[int]:
    """A process and its descendants, as far as they are there."""
    return {*_tree(root)}


def _tree(root: int) -> dict[int, list[str]]:
    """``_stat`` of each."""
    stats = {pid: stat for pid in _pids() if (stat := _stat(pid))}
    wanted = {root}
    while found := {pid for pid, stat in stats.items() if int(stat[1]) in wanted} - wanted:
        wanted |= found
    return {pid: stat for pid, stat in stats.items() if pid in wanted}


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name; empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def open_files(pid: int) -> set[str]:
    """The paths and sockets that the process has open, as far as we may know them."""
    found = set()
    with suppress(OSError):  # the process is gone, or another's
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                found.add(str(each.readlink()))
    return found
