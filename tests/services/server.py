"""A server process that never outlives us: started, stopped, killed, frozen, and started again at the same place."""

import ctypes
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.services.installing import Unavailable

_PR_SET_PDEATHSIG = 1


class Server:
    """One process in a folder of its own. Start it in the main thread: it is killed when its starter ends."""

    name = ""
    user: str | None = None
    """Who runs it, if not we."""
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Get and lay out what it needs. Raises Unavailable."""
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        """Start the process; returns at once. It keeps its data and its port from an earlier start."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                user=self.user,
                group=self.user,
                extra_groups=[] if self.user else None,
                start_new_session=True,  # Ctrl-C in the terminal is for the tests; they stop us when they are done
                preexec_fn=die_with_parent,
            )

    def wait_until_ready(self, timeout: float = 240.0) -> None:
        """Wait until it answers. Raises Unavailable with the end of its log."""
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            ended = self._process is None or self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                what = "ended" if ended else f"did not answer within {timeout:g} s"
                raise Unavailable(f"{self.name} {what}:\n{self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)

    @property
    def pid(self) -> int | None:
        """Of the process that was started last; None if there was none."""
        return self._process.pid if self._process else None

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def restart(self) -> None:
        self.start()
        self.wait_until_ready()

    def stop(self) -> None:
        """Let it end in good order; kill it if that takes too long."""
        self.end_by(self.stop_signal)

    def end_by(self, number: signal.Signals) -> None:
        """Send it a signal to end; kill it if that takes too long."""
        if self._process is None:
            return
        self.resume()
        self._process.send_signal(number)
        try:
            self._process.wait(120)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Freeze it: connections stay open, nothing answers."""
        if self._process:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGCONT)


def die_with_parent() -> None:
    """In the child, before it becomes its program: be killed when the thread that started us ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, below those that the system gives to connections: until a server
    that is started later, or again, takes its port, nobody else gets it by chance. No port is given twice."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(10_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            if port not in _given:
                _given.add(port)
                found.append(port)
    return found


_given: set[int] = set()
