"""A page of the documentation as the steps of somebody who follows it at a terminal.

What a step is, stands in the page's own fences:

- a ``python`` block whose first line is ``# PATH`` is the text of that file; ``# PATH, at the end`` is added to it;
- a ``console`` block has commands, ``$ …``, each with lines that it shows. One that ends with ``# leave it running``
  goes on while others are given; given again, it is started anew, as after Ctrl-C;
- a ``console`` block that begins with ``# in the terminal of NAME`` shows what such a command says after some time;
- ``<!-- browser: ADDRESS shows "TEXT" -->`` is what a browser shows to whoever has logged in.

In what is shown, ``…`` stands for anything, alone for any number of lines, and spaces are one. All other fences are for
people.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

STAYS = "# leave it running"

_STEP = re.compile(r'^```(python|console)\n(.*?)^```$|^<!-- browser: (\S+) shows "([^"\n]*)" -->$', re.M | re.S)
_FILE = re.compile(r"# ([\w/]+\.\w+)(, at the end)?\n")
_TERMINAL = re.compile(r"# in the terminal of (\w+)\n")


@dataclass(frozen=True)
class File:
    """A file that is written, or added to."""

    path: str
    text: str
    is_added: bool


@dataclass(frozen=True)
class Command:
    """A command that is given to the shell, and what it shows."""

    line: str
    shown: str
    stays: bool


@dataclass(frozen=True)
class Said:
    """What a command says that was left running."""

    name: str
    shown: str


@dataclass(frozen=True)
class Looked:
    """What a browser shows."""

    address: str
    shown: str


Step = File | Command | Said | Looked


def steps(page: str) -> Iterator[Step]:
    """The steps of the page in their order."""
    for kind, text, address, shown in _STEP.findall(page):
        if kind == "python":
            if file := _file(text):
                yield file
        elif kind == "console":
            yield from _at_a_terminal(text)
        else:
            yield Looked(address, shown)


def is_shown(expected: str, output: str) -> bool:
    """Whether these lines are among those of the output, one after the other."""
    pattern = "".join(_line_pattern(line) for line in expected.splitlines())
    lines = "".join(f"{' '.join(line.split())}\n" for line in output.splitlines())
    return re.search(f"^{pattern}", lines, re.M) is not None


def _line_pattern(line: str) -> str:
    if line.strip() == "…":
        return r"(?:.*\n)*?"
    return ".*".join(re.escape(part) for part in re.split(r" ?… ?", " ".join(line.split()))) + r"\n"


def _file(text: str) -> File | None:
    named = _FILE.match(text)
    return File(named[1], text, is_added=bool(named[2])) if named else None


def _at_a_terminal(text: str) -> Iterator[Command | Said]:
    if named := _TERMINAL.match(text):
        yield Said(named[1], text[named.end() :])
        return
    for given in re.split(r"^\$ ", text, flags=re.M)[1:]:
        line, _, shown = given.partition("\n")
        yield Command(line.removesuffix(STAYS).strip(), shown, stays=line.endswith(STAYS))
