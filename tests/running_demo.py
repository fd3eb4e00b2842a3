"""The demo as a process, until somebody stops it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.processes import ROOT
from tests.waiting import wait_for


def environment(env: Mapping[str, str]) -> dict[str, str]:
    ours = ("DATABASE_URL", "DJANGO_SETTINGS_MODULE", "KAFKA_BOOTSTRAP_SERVERS")
    return {name: value for name, value in os.environ.items() if name not in ours} | dict(env)


class Running:
    """The demo that goes on until it is stopped."""

    def __init__(self, output: Path, env: Mapping[str, str]) -> None:
        self._output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "demo"],
                cwd=ROOT,
                env=environment({"TMPDIR": str(output.parent), **env}),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def says(self, pattern: str) -> "re.Match[str]":
        """Wait until the output has this."""
        wait_for(lambda: re.search(pattern, self.output) or self.process.poll() is not None)
        found = re.search(pattern, self.output)
        assert found, self.output
        return found

    def has_ended_everything(self) -> bool:
        numbers = re.findall(r"runs as process (\d+)", self.output)
        assert len(numbers) == 3, self.output
        return not any(is_running(int(number)) for number in numbers)


def is_running(pid: int) -> bool:
    """Whether there is such a process that is not just waiting to be buried."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def running(folder: Path, **env: str) -> Iterator[Running]:
    demo = Running(folder / "demo.log", env)
    try:
        yield demo
    finally:
        if demo.process.poll() is None:
            os.killpg(demo.process.pid, signal.SIGKILL)
        demo.process.wait()
