"""Pages whose figures are measured: between two comments, of which the first names them."""

import re
from pathlib import Path


def write_between(page: Path, name: str, text: str) -> None:
    """Replace what is between ``<!-- name -->`` and ``<!-- end -->``; ValueError unless there is one such place."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(\n?<!-- end -->)", re.DOTALL)
    written, count = pattern.subn(lambda found: f"{found[1]}{text}\n<!-- end -->", page.read_text())
    if count != 1:
        raise ValueError(f"{page} has {count} places for {name!r}, not one")
    page.write_text(written)
