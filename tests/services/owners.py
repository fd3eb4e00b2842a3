"""Which process has a connection (proc(5))."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def owner_of(port: int, pids: Iterable[int]) -> int | None:
    """Which of these processes has a socket with this local port; None if none of them has."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port)}
    for pid in pids:
        with suppress(OSError):  # it has ended, or closed a file in between
            if any(str(each.readlink()) in sockets for each in Path(f"/proc/{pid}/fd").iterdir()):
                return pid
    return None


def _inodes(port: int) -> Iterable[str]:
    ending = f":{port:04X}"
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:]:
            row = line.split()
            if row[1].endswith(ending):
                yield row[9]
