"""The dearest lines of a flame graph: where in the product its samples are.

A sample counts for the innermost line of ours in its stack, so a line has what it calls elsewhere, as in Django or in
librdkafka, and nothing of what it calls in the product.
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

OURS = "django_events/"

ELSEWHERE = "elsewhere"
"""Samples without a line of ours in their stack."""

_SVG = "{http://www.w3.org/2000/svg}"
_INFERNO = "{http://github.com/jonhoo/inferno}"
_SAMPLES = re.compile(r" \([\d,]+ samples?, [\d.]+%\)$")


class _Frame(NamedTuple):
    row: float
    """Where it is drawn: callers are above those that they call."""
    begin: int
    samples: int
    name: str
    """Function, file and line."""


def samples_by_line(picture: Path, ours: str = OURS) -> Counter[str]:
    """How many samples of a flame graph by py-spy are in each line whose file has ``ours`` in its path."""
    found: Counter[str] = Counter()
    above: list[tuple[_Frame, str]] = []
    for _, row in groupby(sorted(_frames(picture)), attrgetter("row")):
        here = []
        for frame in row:
            outer = next((line for caller, line in above if _is_within(frame, caller)), None)
            line = frame.name if ours in frame.name else outer or ELSEWHERE
            found[line] += frame.samples
            if outer is not None:  # its samples include these
                found[outer] -= frame.samples
            here.append((frame, line))
        above = here
    return +found


def table(picture: Path, lines: int = 10) -> str:
    """The dearest lines of a flame graph, each with its share of all samples."""
    found = samples_by_line(picture)
    total = sum(found.values()) or 1
    return "\n".join(f"{count / total:7.1%}  {line}" for line, count in found.most_common(lines))


def _frames(picture: Path) -> Iterator[_Frame]:
    for group in ElementTree.parse(picture).iter(f"{_SVG}g"):
        title, box = group.find(f"{_SVG}title"), group.find(f"{_SVG}rect")
        if title is not None and box is not None:
            begin, samples = int(box.attrib[f"{_INFERNO}x"]), int(box.attrib[f"{_INFERNO}w"])
            yield _Frame(float(box.attrib["y"]), begin, samples, _SAMPLES.sub("", title.text or ""))


def _is_within(frame: _Frame, caller: _Frame) -> bool:
    return caller.begin <= frame.begin < caller.begin + caller.samples
