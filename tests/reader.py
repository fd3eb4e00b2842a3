"""Somebody who follows a page of the documentation in an empty folder, step by step and letter by letter."""

import html
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode

from tests.page import Command, File, Looked, Said, Step, is_shown
from tests.services.server import die_with_parent

PATIENCE = 120.0
"""Seconds until something has gone wrong."""

ACTIVATE = "[ ! -f .venv/bin/activate ] || . .venv/bin/activate; "
"""As in every terminal of a reader."""


class Reader:
    """Follows steps. ``end`` it: commands may have been left running."""

    def __init__(self, folder: Path, env: Mapping[str, str], site: str, hidden: Mapping[str, str]) -> None:
        """``site`` is the address of Django's server and ``user:password``; ``hidden`` are texts that the page does not
        know, such as a prefix, and what is shown in their place."""
        self._folder = folder
        self._env = dict(env)
        self._address, self._login = site.split(" ")
        self._hidden = hidden
        self._running: dict[str, _Running] = {}

    def follow(self, step: Step) -> None:
        """Do what the step says. Raises AssertionError if it does not show what the page shows."""
        match step:
            case File():
                self._write(step)
            case Command(stays=True):
                self._start(step.line)
            case Command():
                self._give(step)
            case Said():
                self._hear(step)
            case Looked():
                self._look(step)

    def end(self) -> None:
        for running in self._running.values():
            running.kill()

    def _write(self, file: File) -> None:
        with (self._folder / file.path).open("a" if file.is_added else "w") as opened:
            opened.write(f"\n\n{file.text}" if file.is_added else file.text)

    def _give(self, command: Command) -> None:
        """What fails, or shows something else, is given again until it works: people, too, try once more."""
        deadline, first = time.monotonic() + PATIENCE, ""
        while True:
            done = subprocess.run(
                ["bash", "-c", ACTIVATE + command.line],
                cwd=self._folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=PATIENCE,
            )
            output = self._without_hidden(done.stdout)
            if done.returncode == 0 and is_shown(command.shown, output):
                return
            first = first or output
            assert time.monotonic() < deadline, f"$ {command.line}\n{first}\ninstead of\n{command.shown}"
            time.sleep(0.5)

    def _start(self, line: str) -> None:
        if earlier := self._running.pop(line, None):
            earlier.interrupt()
        log = self._folder.parent / f"{len(list(self._folder.parent.glob('*.log')))}.log"
        self._running[line] = _Running(line, self._folder, self._env, log)

    def _hear(self, said: Said) -> None:
        (running,) = (each for line, each in self._running.items() if said.name in line.split())
        wait_until(
            lambda: is_shown(said.shown, self._without_hidden(running.output)) or not running.is_alive(),
            lambda: f"{said.name} says\n{running.output}\ninstead of\n{said.shown}",
        )
        assert is_shown(said.shown, self._without_hidden(running.output)), running.output

    def _look(self, looked: Looked) -> None:
        visitor = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        login = f"{self._address}/admin/login/?next={looked.address}"
        wait_until(lambda: _answers(login), lambda: f"nobody answers at {self._address}")
        form = visitor.open(login, timeout=PATIENCE).read().decode()
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
        assert token, form
        user, password = self._login.split(":")
        fields = {"csrfmiddlewaretoken": token[1], "username": user, "password": password, "next": looked.address}
        page = visitor.open(login, urlencode(fields).encode(), timeout=PATIENCE)
        text = html.unescape(re.sub("<[^>]+>", "", page.read().decode()))
        assert page.url == f"{self._address}{looked.address}", page.url
        assert looked.shown in text, text

    def _without_hidden(self, output: str) -> str:
        for text, shown in self._hidden.items():
            output = output.replace(text, shown)
        return output


class _Running:
    """A command that goes on."""

    def __init__(self, line: str, folder: Path, env: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                ["bash", "-c", f"{ACTIVATE}exec {line}"],
                cwd=folder,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        os.killpg(self._process.pid, signal.SIGINT)
        self._process.wait(PATIENCE)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def wait_until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    """Wait for the condition; raises AssertionError with what was instead."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=PATIENCE).close()
    except URLError:
        return False
    return True
