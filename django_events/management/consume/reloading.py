"""``--reload``: a child process consumes, and is replaced when a file of the site's code changes.

As runserver does it, with Django's own watcher of files; but a child stops in good order before the next begins.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from django.utils import autoreload

from django_events.management.console import Console
from django_events.management.signals import stop_on_signals
from django_events.stopping import Stop

CHANGED = 3
"""The exit code of a process that ends because a file has changed; Django's own."""


def is_child() -> bool:
    """Whether this process is the one that consumes."""
    return os.environ.get(autoreload.DJANGO_AUTORELOAD_ENV) == "true"


def consume_until_a_change(consume: Callable[[Stop, Callable[[], int]], None]) -> None:
    """In the child: consume in a thread, and watch files. Raises what ``consume`` raises; SystemExit after a change.

    ``consume`` gets what tells it to stop, and a function that says with which code to end if it cannot stop in time.
    """
    stop = Stop()
    reloader = autoreload.get_reloader()
    ended = threading.Event()
    raised: list[BaseException] = []
    has_changed: list[str] = []

    def main() -> None:
        try:
            consume(stop, lambda: CHANGED if has_changed else 1)
        except BaseException as error:
            raised.append(error)
        finally:
            ended.set()
            reloader.stop()

    with stop_on_signals(stop):
        try:
            autoreload.start_django(reloader, main)
        except SystemExit:
            has_changed.append("a file")
            raise
        finally:
            stop.set()
            ended.wait()  # bounded by the shutdown time-out
    if raised:
        raise raised[0]


def keep_a_child(console: Console) -> None:
    """In the parent: start the child again after each change; after an error, when a file changes. Raises SystemExit
    with the code of a child that was stopped."""
    child: list[subprocess.Popen[bytes]] = []
    is_told = Stop()

    def pass_on(number: int, _frame: FrameType | None) -> None:
        is_told.set()
        if child and (number != signal.SIGINT or not _terminal_tells_children()):
            child[0].send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        while True:
            child[:] = [_start()]
            if is_told.is_set():
                child[0].terminate()
            code = child[0].wait()
            if is_told.is_set() or code == 0:
                sys.exit(code if code >= 0 else 128 - code)
            if code != CHANGED:
                _wait_for_a_change(is_told, console, code)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start() -> "subprocess.Popen[bytes]":
    environment = {**os.environ, autoreload.DJANGO_AUTORELOAD_ENV: "true"}
    return subprocess.Popen(autoreload.get_child_arguments(), env=environment, close_fds=False)


def _wait_for_a_change(is_told: Stop, console: Console, code: int) -> None:
    """Said once the files are watched: so no change is missed that follows. Raises SystemExit if the process is told to
    stop."""
    reloader: Any = autoreload.get_reloader()
    watching = reloader.tick()
    try:
        next(watching)
        console.note(f"It ended with {code}; it starts again when a file changes")
        while not is_told.is_set():
            next(watching)
    except SystemExit:
        return
    sys.exit(1)


def _terminal_tells_children() -> bool:
    """Whether Ctrl-C reaches the child by itself: it is in the foreground of a terminal, as this process is."""
    if sys.stdin is None:
        return False
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False
