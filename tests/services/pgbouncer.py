"""A PgBouncer in transaction mode in front of a PostgreSQL."""

import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from tests.services.installing import find
from tests.services.postgres import unprivileged_user
from tests.services.server import Server, free_ports


class PgBouncer(Server):
    """Hands each transaction whichever of a few server connections is free: nothing of a session lasts."""

    name = "PgBouncer"

    def __init__(self, folder: Path, database: dict[str, Any]) -> None:
        """``database`` is Django's settings of the database behind it."""
        super().__init__(folder)
        (self._port,) = free_ports(1)
        self._database = database
        self.address = f"postgres://{database['USER']}@127.0.0.1:{self._port}/{database['NAME']}"

    def prepare(self) -> None:
        self._program = find("pgbouncer", "pgbouncer")
        self.folder.mkdir(parents=True)
        (self.folder / "users.txt").write_text(f'"{self._database["USER"]}" "{self._database["PASSWORD"]}"\n')
        (self.folder / "pgbouncer.ini").write_text(self._configuration())
        if os.geteuid() == 0:
            self.user = unprivileged_user()
            for path in (self.folder, *self.folder.iterdir()):
                shutil.chown(path, self.user)

    def command(self) -> list[str]:
        return [self._program, "pgbouncer.ini"]

    def is_ready(self) -> bool:
        try:
            psycopg.connect(self.address, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _configuration(self) -> str:
        server = f"host={self._database['HOST']} port={self._database['PORT']}"
        return f"""
[databases]
{urlsplit(self.address).path[1:]} = {server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self._port}
unix_socket_dir =
auth_type = trust
auth_file = users.txt
pool_mode = transaction
default_pool_size = 4
"""
