"""Runs a command with a real Kafka and PostgreSQL: those of the environment, or some that are started for it.

usage: python -m tests.services [--require-services] [--measured] -- COMMAND …

--measured: what the command does is measured, so they are as careful as in production, and not as quick as can be.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from tests.services import REQUIRED
from tests.services.installing import Unavailable
from tests.services.kafka import KafkaServer
from tests.services.postgres import PostgresServer
from tests.services.server import Server

PARTS: dict[str, type[KafkaServer] | type[PostgresServer]] = {
    "KAFKA_BOOTSTRAP_SERVERS": KafkaServer,
    "DATABASE_URL": PostgresServer,
}
"""The environment variable with its address, and what to start if it is not set."""


def main(arguments: list[str]) -> int:
    options, command = _split(arguments)
    required = "--require-services" in options
    if not command or set(options) - {"--require-services", "--measured"}:
        print(__doc__, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _end)
    with tempfile.TemporaryDirectory(prefix="django-events-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # PostgreSQL runs as another user
        with _started(Path(folder), is_measured="--measured" in options) as (addresses, missing):
            if missing and required:
                _say_missing(missing)
                return 1
            code = _run(command, addresses | ({REQUIRED: "1"} if required else {}))
    if missing:
        _say_missing(missing)
    return code


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


@contextmanager
def _started(folder: Path, *, is_measured: bool) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Start what the environment does not name; yields addresses by variable, and why a part cannot be had."""
    servers = {
        name: part(folder / part.name, is_measured=is_measured)
        for name, part in PARTS.items()
        if not os.environ.get(name)
    }
    missing: dict[str, str] = {}
    try:
        with ThreadPoolExecutor() as pool:
            preparing = {name: pool.submit(server.prepare) for name, server in servers.items()}
            for name, done in preparing.items():
                with _noting(missing, servers[name].name):
                    done.result()
                    servers[name].start()  # here and not in the pool: a server ends with the thread that started it
        addresses = {}
        for name, server in servers.items():
            if server.name not in missing:
                with _noting(missing, server.name):
                    server.wait_until_ready()
                    addresses[name] = server.address
        yield addresses, missing
    finally:
        _stop(list(servers.values()))


@contextmanager
def _noting(missing: dict[str, str], name: str) -> Iterator[None]:
    try:
        yield
    except Unavailable as error:
        missing[name] = str(error)


def _stop(servers: list[Server]) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda server: server.stop(), servers))


def _run(command: list[str], addresses: dict[str, str]) -> int:
    """Run the command to its end. Ctrl-C reaches it from the terminal, SIGTERM through us."""
    process = subprocess.Popen(command, env={**os.environ, **addresses})
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _frame: process.send_signal(number))
    try:
        code = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    return code if code >= 0 else 128 - code


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _say_missing(missing: dict[str, str]) -> None:
    line = "=" * 78
    print(line, file=sys.stderr)
    for name, reason in missing.items():
        print(f"{name} COULD NOT BE HAD, so the tests that need it DID NOT RUN.\n{reason}", file=sys.stderr)
    print(line, file=sys.stderr)


sys.exit(main(sys.argv[1:]))
