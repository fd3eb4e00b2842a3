"""Where a command's verbs write to: what was asked for, and what a person may want to know beside it."""

import json
import os
import shutil
import sys
import time
from typing import Any, NamedTuple

from django.core.management.base import OutputWrapper

WIDTH_OF_FILES = 160
"""Columns where the output is no terminal."""


class Console(NamedTuple):
    """The two outputs of a command."""

    out: OutputWrapper
    err: OutputWrapper

    def say(self, line: str) -> None:
        """A line of the answer."""
        self.out.write(line)

    def tell(self, line: str) -> None:
        """A line of news, at once. That nobody reads any more, or a disk is full, raises nothing: the news are lost."""
        try:
            self.say(line)
            self.out.flush()
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                nobody_reads_on()

    def say_json(self, value: Any) -> None:
        """A line of JSON: ASCII only, so that no terminal obeys what an event has in it."""
        self.out.write(json.dumps(value))

    def note(self, line: str) -> None:
        """A line that is not part of the answer."""
        self.err.write(line, style_func=str)
        self.err.flush()

    @property
    def width(self) -> int:
        """Columns of the terminal."""
        return shutil.get_terminal_size((WIDTH_OF_FILES, 24)).columns


class Progress:
    """Notes about once a second how far something long has come."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._noted = time.monotonic()

    def reached(self, count: int) -> None:
        if time.monotonic() - self._noted >= 1:
            self._console.note(f"{count:,} of {self._total:,}")
            self._noted = time.monotonic()


def nobody_reads_on() -> None:
    """After a BrokenPipeError, as with ``| head``: keep Python from complaining about it once more at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
