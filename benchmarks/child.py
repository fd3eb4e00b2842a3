"""One process of a run: sets up, says that it is ready, waits for the start, works, reports. ``processes`` starts it.

usage: python -m benchmarks.child MODULE ARGUMENTS
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROFILE = "BENCHMARK_PROFILE"
"""The environment variable with the folder in which each process leaves its flame graph."""


class Clock:
    """What is timed in this process: from ``wait_for_start``, or a later ``begin``, to ``end``."""

    def __init__(self) -> None:
        self.began = self.ended = self._cpu_began = self._cpu_ended = 0.0
        self.cpu_now: Callable[[], float] = time.process_time
        """Seconds of processor until now, of what is measured: this process, unless it says otherwise before it is
        ready."""
        self.memory = 0
        """Bytes that what is measured had at most; 0 means this process."""

    def wait_for_start(self) -> None:
        """Call it when all is set up; returns when all processes of the run are."""
        print("ready", flush=True)
        sys.stdin.readline()
        self.begin()

    def begin(self) -> None:
        """What is timed begins only now."""
        self.began, self._cpu_began = time.monotonic(), self.cpu_now()

    def end(self) -> None:
        """What is timed ends; closing and checking are not."""
        self.ended, self._cpu_ended = time.monotonic(), self.cpu_now()

    @property
    def cpu(self) -> float:
        return self._cpu_ended - self._cpu_began


def peak_memory(process: int | str = "self") -> int:
    """Bytes that a process had at most. Not ``ru_maxrss``: that begins with what its parent had."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def set_up_django() -> None:
    """What modules import as their first line, before models."""
    import django

    from benchmarks import instruments

    instruments.set_up()
    django.setup()


def main(module: str, arguments: dict[str, Any]) -> None:
    clock = Clock()
    run = importlib.import_module(module).run
    if PROFILE in os.environ:
        from benchmarks.profiling import profiled_if_asked

        with profiled_if_asked(module, os.getpid()):
            told = run(clock, **arguments)
    else:
        told = run(clock, **arguments)
    if not clock.ended:
        clock.end()
    report = {
        "began": clock.began,
        "ended": clock.ended,
        "cpu": clock.cpu,
        "memory": clock.memory or peak_memory(),
        "told": told,
    }
    print("report " + json.dumps(report), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
