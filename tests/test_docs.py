"""The documentation: the site is built without a warning, its code is run, and its lists are complete."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sybil import Document, Example
from sybil.parsers.markdown import CodeBlockParser, SkipParser

import django_events
from django_events import broadcasting, conf, exceptions, handlers, topics
from django_events.kafka import spec
from tests import documented_site
from tests.packages import ROOT

DOCS = ROOT / "docs"

PAGES = [ROOT / "README.md", ROOT / "PACKAGE.md", *sorted(DOCS.glob("*.md"))]

OF_OTHER_TESTS = {"tutorial.md"}
"""Pages whose code test_tutorial.py follows."""

VARIABLES = (
    "KAFKA_SERVERS",
    "KAFKA_USER",
    "KAFKA_PASSWORD",
    "KAFKA_CA",
    "KAFKA_CERTIFICATE",
    "KAFKA_KEY",
    "KAFKA_KEY_PASSWORD",
)
"""Of the environment, which pages about settings read."""


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """A link inside of the docs that leads nowhere, a page in no list, a picture that is missing are warnings."""
    options = ["-q", "-W", "--keep-going", "-d", str(tmp_path / "trees")]
    command = [sys.executable, "-m", "sphinx", *options, str(DOCS), str(tmp_path / "html")]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    assert "Within PROCESSED_RETENTION" in text_of(tmp_path / "html" / "guarantees.html")
    assert "One event’s way through the files" in text_of(tmp_path / "html" / "architecture.html")
    assert "--shutdown-timeout SECONDS" in text_of(tmp_path / "html" / "commands.html")
    assert "PROCESSED_RETENTION" in text_of(tmp_path / "html" / "settings.html")
    assert "only-dark" in (tmp_path / "html" / "admin.html").read_text()


def text_of(page: Path) -> str:
    return re.sub("<[^>]+>", "", page.read_text())


def test_every_public_name_is_in_the_reference() -> None:
    page = (DOCS / "api.md").read_text()
    of_errors = set(vars(exceptions))
    missing = [
        name for name in django_events.__all__ if name not in of_errors and f"django_events.{name}\n" not in page
    ]
    assert not missing


def test_every_setting_is_in_the_table_of_the_readme() -> None:
    _, _, table = (ROOT / "README.md").read_text().partition("\n### Settings\n")
    rows = "".join(line.split("|")[1] for line in table.partition("\n#")[0].splitlines() if line.startswith("|"))
    assert set(re.findall(r"`([A-Z_]+)`", rows)) == conf.names()


def test_every_check_is_in_the_reference() -> None:
    number = re.compile(r"\bdjango_events\.[EW]\d{3}\b")
    in_code = {
        found
        for file in Path(django_events.__file__).parent.rglob("*.py")
        for found in number.findall(file.read_text())
    }
    assert set(number.findall((DOCS / "checks.md").read_text())) == in_code


def test_every_verb_is_in_the_reference() -> None:
    from docs.pages import help_of

    listed = set(re.findall(r"<!-- help: (.+?) -->", (DOCS / "commands.md").read_text()))
    verbs = verbs_of(help_of(["events"]))
    assert verbs - {"dead-letters"} <= {each.removeprefix("events ") for each in listed}
    letters = verbs_of(help_of(["events", "dead-letters"]))
    assert {f"events dead-letters {verb}" for verb in letters} <= listed


def verbs_of(text: str) -> set[str]:
    return set(re.findall(r"^    ([a-z-]+)\s", text, re.M))


# ── code ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def compiled(example: Example) -> Any:
    source = "\n" * (example.line + example.parsed.line_offset) + example.parsed
    return compile(source, example.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


def run(example: Example) -> None:
    """What awaits something outside of a function is only compiled."""
    code = compiled(example)
    if not code.co_flags & inspect.CO_COROUTINE:
        exec(code, example.namespace)


def named(page: Path) -> str:
    return page.name


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_code_of_a_page_can_be_compiled(page: Path) -> None:
    for example in Document.parse(str(page), CodeBlockParser("python", compiled_only)):
        example.evaluate()


def compiled_only(example: Example) -> None:
    compiled(example)


@pytest.mark.django_db
@pytest.mark.usefixtures("declarations")
@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in OF_OTHER_TESTS], ids=named)
def test_the_code_of_a_page_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block after the other, with the names that the page takes for granted; but what says ``skip: next``."""
    for declared in (topics._declared, spec._declared, handlers._groups, broadcasting._declared):
        declared.clear()
    for name in VARIABLES:
        monkeypatch.setenv(name, "x")
    document = Document.parse(str(page), SkipParser(), CodeBlockParser("python", run))
    document.namespace.update(documented_site.names(page.name), __name__="documented")
    for example in document:
        example.evaluate()


# ── lists ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_of_the_top_folder_lead_somewhere(page: str) -> None:
    """Those of the pages are looked at by Sphinx."""
    for target, heading in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", (ROOT / page).read_text()):
        file = ROOT / (target or page)
        assert file.exists(), target
        assert not heading or heading in anchors(file.read_text()), f"{target}#{heading}"


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
