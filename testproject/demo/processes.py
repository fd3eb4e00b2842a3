"""The processes of the demo: ``manage.py`` commands that end with it, even if it is killed."""

import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from django.conf import settings

PATIENCE = 120.0
"""Seconds that a process has to begin, and to end: many, for a machine that others use, too."""

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class ProcessFailed(Exception):
    """A process did not do what it is there for; the text has its output."""


class Processes:
    """Some commands of the site. Leaving the ``with`` block ends those that still run, all at the same time."""

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        """``folder`` takes the files with their output."""
        self._env = env
        self._folder = folder
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started.values():
            process.terminate()
        for process in self._started.values():
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, command: str, *arguments: str) -> int:
        """Start ``manage.py`` with this command; its process id. Has a session of its own: Ctrl-C is not for it."""
        with self._log(command).open("wb") as log:
            process = subprocess.Popen(
                _manage(command, *arguments),
                cwd=settings.BASE_DIR,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self._started[command] = process
        return process.pid

    def in_front(self, command: str, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start the command in this terminal: it says what it says here, and Ctrl-C is for it, too."""
        return subprocess.Popen(
            _manage(command, *arguments), cwd=settings.BASE_DIR, env=self._env, preexec_fn=_die_with_parent
        )

    def wait_until(self, condition: Callable[[], bool], command: str) -> None:
        """Wait for the condition that this command is to bring about. Raises ProcessFailed with its output."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if self._started[command].poll() is not None or time.monotonic() > deadline:
                raise ProcessFailed(f"manage.py {command} did not begin as it should:\n{self.output(command)}")
            time.sleep(0.05)

    def output(self, command: str) -> str:
        """What the command has said so far."""
        return self._log(command).read_text(errors="replace")

    def outputs(self) -> str:
        """What all of them have said."""
        return "".join(self.output(command) for command in self._started)

    def _log(self, command: str) -> Path:
        return self._folder / f"{command}.log"


def _manage(*arguments: str) -> list[str]:
    return [sys.executable, "manage.py", *arguments]


def _die_with_parent() -> None:
    """In the child, before it becomes its program: be killed when the thread that started us ends (Linux)."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
