"""The history of a run: a file to which every process appends what it learns, a line of JSON for each fact."""

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import msgspec

from tests.chaos.facts import AnyFact

FILE = "CHAOS_HISTORY"
"""The environment variable with the file's path."""


class History:
    """The file. Thread-safe and safe among processes: each call is one write, so a SIGKILL loses no line of it, but for
    the last, of which it may leave a part."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o644)

    def note(self, *facts: AnyFact) -> None:
        """Append the facts."""
        os.write(self._file, b"".join(b"\n" + _encode(fact) for fact in facts) + b"\n")

    def read(self) -> list[AnyFact]:
        """All facts so far, in the order of their time."""
        return read_history(self.path)

    def close(self) -> None:
        os.close(self._file)


def note(*facts: AnyFact) -> None:
    """Append the facts to the history that this process's environment names; nowhere if it names none."""
    if history := _of_this_process():
        history.note(*facts)


@cache
def _of_this_process() -> History | None:
    return History(Path(os.environ[FILE])) if FILE in os.environ else None


def read_history(path: Path) -> list[AnyFact]:
    """The facts of a file, in the order of their time."""
    return _sorted(_decoder.decode(line) for line in path.read_bytes().split(b"\n") if line.endswith(b"}"))


def _sorted(facts: Iterable[AnyFact]) -> list[AnyFact]:
    return sorted(facts, key=lambda fact: fact.at)


_encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[AnyFact] = msgspec.json.Decoder(AnyFact)
