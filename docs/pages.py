"""What the site makes of pages that are written for GitHub, too. An extension of Sphinx.

- ``<!-- from ../FILE: HEADING -->…<!-- end -->`` becomes that section of a file outside of docs, or without a heading
  all of the file; what stands in between is what GitHub shows.
- ``<!-- help: COMMAND -->…<!-- end -->`` becomes what ``manage.py COMMAND --help`` says.
- A ``<picture>`` with a dark variant becomes two images, so that Sphinx looks whether they exist, and the theme's own
  switch chooses.
- Links to files of the top folder become links to the pages that have their text.
"""

import re
from argparse import SUPPRESS, ArgumentParser, _SubParsersAction
from functools import partial
from pathlib import Path

from django.core.management import load_command_class
from django.core.management.base import DjangoHelpFormatter
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent

PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""The page of the site for each file of the top folder."""

WIDTH = 86
"""Columns of a block of text on the site."""

_FROM = re.compile(r"<!-- from \.\./([\w.-]+)(?:: ([^\n]+?))? -->.*?<!-- end -->", re.S)
_HELP = re.compile(r"<!-- help: ([\w -]+?) -->.*?<!-- end -->", re.S)
_PICTURE = re.compile(r'<picture>\s*<source [^>]*srcset="([^"]+)">\s*<img src="([^"]+)" alt="([^"]*)">\s*</picture>')
_LINK = re.compile(r"\]\((?:\.\./)?(" + "|".join(map(re.escape, PAGES)) + r")([#)])")


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    source[0] = for_the_site(source[0])


def for_the_site(text: str) -> str:
    """The page as the site has it."""
    text = _FROM.sub(lambda found: part_of(ROOT / found[1], found[2]), text)
    text = _HELP.sub(lambda found: f"```text\n{help_of(found[1].split())}```", text)
    text = _PICTURE.sub(r"\n" + _image(r"\2", "light") + r"\n" + _image(r"\1", "dark"), text)
    return _LINK.sub(lambda found: f"]({PAGES[found[1]]}{found[2]}", text)


def part_of(file: Path, heading: str | None) -> str:
    """The section of a file of the top folder, without its heading, or the whole file; its links are as in docs."""
    text = file.read_text()
    if heading:
        found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
        if not found:
            raise LookupError(f"{file.name} has no section {heading!r}")
        text = found[1]
    return text.replace("](docs/", "](").replace('="docs/', '="').strip()


def help_of(words: list[str]) -> str:
    """The help of a command of ours, or of one of its verbs, without the options that all commands of Django have."""
    command, *verbs = words
    parser: ArgumentParser = load_command_class("django_events", command).create_parser("manage.py", command)
    for verb in verbs:
        (choices,) = (each for each in parser._actions if isinstance(each, _SubParsersAction))
        parser = choices.choices[verb]
    for action in parser._actions:
        if DjangoHelpFormatter.show_last.intersection(action.option_strings):
            action.help = SUPPRESS
    parser.formatter_class = partial(DjangoHelpFormatter, width=WIDTH)
    return parser.format_help()


def _image(path: str, shade: str) -> str:
    return f"```{{image}} {path}\n:class: only-{shade}\n:alt: \\3\n```\n"
