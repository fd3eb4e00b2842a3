"""One PostgreSQL server with a cluster of its own."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from signal import SIGINT, SIGQUIT

import psycopg

from tests.services.installing import Unavailable, postgres_programs
from tests.services.server import Server, free_ports


class PostgresServer(Server):
    """PostgreSQL on a free port of 127.0.0.1, run by the user ``postgres`` if we are root (it refuses root)."""

    name = "PostgreSQL"
    stop_signal = SIGINT  # its "fast shutdown": does not wait for clients

    def __init__(self, folder: Path, *, is_measured: bool = False) -> None:
        """``is_measured``: what it takes counts, so a commit waits for the disk. Else it does not: what a process has
        written outlives it all the same, and no test ends the machine."""
        super().__init__(folder)
        self._fsync = "on" if is_measured else "off"
        (self.port,) = free_ports(1)
        self.address = f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def prepare(self) -> None:
        self._programs = postgres_programs()
        self.folder.mkdir(parents=True)
        if os.geteuid() == 0:
            self.user = unprivileged_user()
            shutil.chown(self.folder, self.user)
        initdb = [
            str(self._programs / "initdb"),
            *("--pgdata=data", "--username=postgres", "--auth=trust"),
            *("--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"),
        ]
        done = subprocess.run(
            initdb,
            cwd=self.folder,
            user=self.user,
            group=self.user,
            extra_groups=[] if self.user else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise Unavailable(f"PostgreSQL's initdb failed:\n{done.stdout.strip()[-2000:]}")

    def command(self) -> list[str]:
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": 200,
            "fsync": self._fsync,
            **self._what_counts_statements(),
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        return [str(self._programs / "postgres"), "-D", "data", *arguments]

    def _what_counts_statements(self) -> dict[str, object]:
        """pg_stat_statements, where PostgreSQL came with it: what an event costs is counted in statements."""
        pg_config = subprocess.run([self._programs / "pg_config", "--pkglibdir"], capture_output=True, text=True)
        library = Path(pg_config.stdout.strip()) / "pg_stat_statements.so"
        return {"shared_preload_libraries": "pg_stat_statements"} if library.exists() else {}

    def crash(self) -> None:
        """End it by its "immediate shutdown": nobody is waited for, and the next start recovers from the log."""
        self.end_by(SIGQUIT)

    def is_ready(self) -> bool:
        try:
            psycopg.connect(self.address, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def unprivileged_user() -> str:
    """A user for servers that refuse to run as root. Raises Unavailable."""
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise Unavailable("PostgreSQL does not run as root, and there is no user postgres or nobody")
