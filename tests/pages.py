"""Pages whose figures are measured: between two comments, of which the first names them."""

import re
from pathlib import Path


def read_between(page: Path, name: str) -> str:
    """What is between ``<!-- name -->`` and ``<!-- end -->``; ValueError unless there is one such place."""
    found = _between(name).findall(page.read_text())
    if len(found) != 1:
        raise ValueError(f"{page} has {len(found)} places for {name!r}, not one")
    return str(found[0])


def write_between(page: Path, name: str, text: str) -> None:
    """Replace what is there; ValueError unless there is one such place."""
    read_between(page, name)
    written = _between(name).sub(lambda _: f"<!-- {name} -->\n{text}\n<!-- end -->", page.read_text())
    page.write_text(written)


def _between(name: str) -> re.Pattern[str]:
    return re.compile(rf"<!-- {name} -->\n(.*?)\n?<!-- end -->", re.DOTALL)
