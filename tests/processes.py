"""Processes of the site: ``manage.py`` commands and servers on the test's database and Kafka."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.services.server import die_with_parent
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parent.parent


class Process:
    """A running command; its output goes to a file that the test can look at."""

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str], output: Path) -> None:
        self._output = output
        with output.open("ab") as file:
            self._popen = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=dict(env),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that ``kill`` reaches what it has started, too
                preexec_fn=die_with_parent,
            )

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    @property
    def pid(self) -> int:
        return self._popen.pid

    def running(self) -> bool:
        return self._popen.poll() is None

    @property
    def code(self) -> int | None:
        """The return code, negative for a signal; None while it runs."""
        return self._popen.poll()

    def says(self, text: str) -> None:
        """Wait until the output has this text."""
        try:
            wait_for(lambda: text in self.output or not self.running())
        except AssertionError as error:
            raise AssertionError(f"did not say {text!r}:\n{self.output}") from error
        assert text in self.output, self.output

    def ends(self, timeout: float = 300.0) -> int:
        """Wait for the end; the return code, negative for a signal."""
        return self._popen.wait(timeout)

    def succeeds(self, timeout: float = 300.0) -> str:
        """Wait for the end, which must be a success; the output."""
        assert self.ends(timeout) == 0, self.output
        return self.output

    def was_killed_by_itself(self) -> bool:
        """Wait for the end; whether it was SIGKILL, as at a crash point."""
        return self.ends() == -signal.SIGKILL

    def signal(self, number: int) -> None:
        self._popen.send_signal(number)

    def stacks(self) -> str:
        """What its threads are doing, also where one of them holds Python's lock."""
        return stacks_of(self.pid)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()


def stacks_of(pid: int) -> str:
    """What the threads of this process are doing, also where one of them holds Python's lock."""
    spy = Path(sys.executable).parent / "py-spy"
    seen = subprocess.run([spy, "dump", "--native", "--pid", str(pid)], capture_output=True, text=True)
    return seen.stdout + seen.stderr


class Site:
    """Starts processes with one environment, and ends those that still run with the test."""

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self._env = env
        self._folder = folder
        self._started: list[Process] = []

    def start(self, *arguments: str, **env: str) -> Process:
        """Start ``manage.py`` with these arguments; ``env`` is added to the environment."""
        return self._start("manage.py", *arguments, **env)

    def start_module(self, name: str, *arguments: str, **env: str) -> Process:
        """Start ``python -m name`` with these arguments, as a server is started."""
        return self._start("-m", name, *arguments, **env)

    def _start(self, *arguments: str, **env: str) -> Process:
        output = self._folder / f"{len(self._started)}-{arguments[1]}.log"
        process = Process(arguments, {**os.environ, **self._env, **env}, output)
        self._started.append(process)
        return process

    def run(self, *arguments: str, **env: str) -> str:
        """Run the command to its end, which must be a success; its output."""
        return self.start(*arguments, **env).succeeds()

    def has_said(self, text: str) -> bool:
        """Whether this text is in the output of one of its processes."""
        return any(text in process.output for process in self._started)

    def catch_up(self, *arguments: str, **env: str) -> None:
        """Have ``catchup --once`` send all that waits; once more where a busy Kafka did not take all of it in time."""
        tried: list[Process] = []

        def has_sent_all() -> bool:
            tried.append(self.start("catchup", "--once", *arguments, **env))
            return tried[-1].ends() == 0

        try:
            wait_for(has_sent_all)
        except AssertionError as error:
            raise AssertionError(tried[-1].output) from error

    def end(self) -> None:
        for process in self._started:
            process.kill()
