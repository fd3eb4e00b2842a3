"""The processes of a run: started, waited for until all are ready, let go together, and asked what they have done."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.services.server import die_with_parent

ROOT = Path(__file__).resolve().parent.parent
READY, REPORT = "ready", "report "
LIMIT = 300.0
"""Seconds after which a run is given up."""


class RunFailed(Exception):
    """A process of a run has ended without a report; the text has the end of what it said."""


@dataclass(frozen=True)
class Actor:
    """A process of a run: ``run(clock, …)`` of a module."""

    name: str
    module: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished:
    """What a process has reported."""

    name: str
    began: float
    """When its work began (time.monotonic)."""
    ended: float
    cpu: float
    """Seconds of processor between the two, of all its threads."""
    memory: int
    """Bytes that it had at most since it was started."""
    told: Mapping[str, Any]
    """What ``run`` returned."""


def run_together(actors: Sequence[Actor], on_start: Callable[[], None], limit: float = LIMIT) -> list[Finished]:
    """Start the actors; when all are ready, call ``on_start`` and let them go. Raises RunFailed."""
    with tempfile.TemporaryFile() as errors, _started(actors, errors) as processes:
        watchdog = threading.Timer(limit, _kill, [processes])
        watchdog.start()
        try:
            for process in processes:
                _expect(process, READY, errors)
            on_start()
            for process in processes:
                _stream(process.stdin).write("go\n")
                _stream(process.stdin).flush()
            reports = [_expect(process, REPORT, errors) for process in processes]
            for process in processes:
                process.wait()
        finally:
            watchdog.cancel()
    return [Finished(actor.name, **json.loads(report)) for actor, report in zip(actors, reports, strict=True)]


@contextmanager
def _started(actors: Sequence[Actor], errors: IO[bytes]) -> Iterator[list["subprocess.Popen[str]"]]:
    processes: list[subprocess.Popen[str]] = []
    try:
        for actor in actors:
            processes.append(_start(actor, errors))
        yield processes
    finally:
        _kill(processes)
        for process in processes:
            _stream(process.stdin).close()
            _stream(process.stdout).close()


def _start(actor: Actor, errors: IO[bytes]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.child", actor.module, json.dumps(dict(actor.arguments))],
        cwd=ROOT,
        env={**os.environ, **actor.env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        preexec_fn=die_with_parent,
    )


def _expect(process: "subprocess.Popen[str]", beginning: str, errors: IO[bytes]) -> str:
    """The rest of the line that begins so; other lines are passed over."""
    for line in _stream(process.stdout):
        if line.startswith(beginning):
            return line[len(beginning) :]
    errors.seek(0)
    said = errors.read().decode(errors="replace").strip()[-3000:]
    raise RunFailed(f"a process ended with {process.wait()} before it said {beginning.strip()!r}:\n{said}")


def _kill(processes: Sequence["subprocess.Popen[str]"]) -> None:
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream
