"""The documentation: the site is built without a warning, its code is run, and its lists are complete."""

import ast
import inspect
import re
import shlex
import subprocess
import sys
import zlib
from dataclasses import fields
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
from django.core.management import CommandError, load_command_class
from django.dispatch import Signal
from sybil import Document, Example
from sybil.parsers.markdown import CodeBlockParser, SkipParser

import django_events
from django_events import broadcasting, conf, exceptions, handlers, health, signals, testing, topics, views
from django_events.calling import Calling
from django_events.consuming.service import SHUTDOWN_TIMEOUT
from django_events.failures import RETRIED_FOR, FailurePolicy
from django_events.kafka import spec
from tests import documented_site
from tests.packages import ROOT

DOCS = ROOT / "docs"

COMMAND = r"(?:^    |^\$ python |`)manage\.py (consume|catchup|events)\b([^`\n#>]*)(?=[`\n#>])"
"""One of ours on a page, as a line or in a sentence."""

PUBLIC_MODULES = (exceptions, health, signals, testing, views)
"""All that they have is for users; of other modules, what ``django_events`` exports."""

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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder. A link that leads nowhere, a page in no list, a picture that is missing are warnings, and fail."""
    folder = tmp_path_factory.mktemp("site")
    options = ["-q", "-W", "--keep-going", "-d", str(folder / "trees")]
    command = [sys.executable, "-m", "sphinx", *options, str(DOCS), str(folder / "html")]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return folder / "html"


def test_the_site_has_what_is_in_other_files(site: Path) -> None:
    assert "Within PROCESSED_RETENTION" in text_of(site / "guarantees.html")
    assert "One event’s way through the files" in text_of(site / "architecture.html")
    assert "--shutdown-timeout SECONDS" in text_of(site / "commands.html")
    assert "PROCESSED_RETENTION" in text_of(site / "settings.html")
    assert "only-dark" in (site / "admin.html").read_text()


def text_of(page: Path) -> str:
    return re.sub("<[^>]+>", "", page.read_text())


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    """The index of the site has all that its pages describe."""
    *_, packed = (site / "objects.inv").read_bytes().split(b"\n", 4)
    described = {line.split()[0] for line in zlib.decompress(packed).decode().splitlines() if " py:" in line}
    of_errors = vars(exceptions)
    public = {f"django_events.{'exceptions.' if name in of_errors else ''}{name}" for name in django_events.__all__}
    public |= {f"{module.__name__}.{name}" for module in PUBLIC_MODULES for name in names_of(module)}
    assert len(public) > 50
    assert not sorted(public - described)


def names_of(module: ModuleType) -> list[str]:
    """The functions, classes and signals that a module has of its own."""
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, Signal)
        or (isinstance(value, type | FunctionType) and value.__module__ == module.__name__ and name[0] != "_")
    ]


def test_every_setting_is_in_the_reference() -> None:
    assert set(re.findall(r"`([A-Z_]+)`", "".join(first_cells("settings.md")))) == conf.names()


def test_every_exception_is_in_the_reference() -> None:
    """Each but the base: what raises it, and what to do."""
    rows = {name for cell in first_cells("errors.md") for name in re.findall(r"`(\w+)`", cell)}
    assert rows == set(names_of(exceptions)) - {"EventsError", "SendError"}


def test_every_option_of_handlers_and_groups_is_in_the_reference() -> None:
    of_groups = set(inspect.signature(django_events.ConsumerGroup).parameters) - {"name"}
    of_handlers = {*handlers.HandlerOptions.__annotations__, *broadcasting.BroadcastOptions.__annotations__, "batch"}
    of_values = {each.name for each in (*fields(django_events.Batch), *fields(django_events.Backoff))}
    rows = {name for cell in first_cells("options.md") for name in re.findall(r"`(\w+)`", cell)}
    assert rows == of_groups | of_handlers | of_values


def test_defaults_are_as_the_reference_has_them() -> None:
    parameters = inspect.signature(django_events.ConsumerGroup).parameters
    of_groups = {name: each.default for name, each in parameters.items() if name != "name"}
    assert defaults("Of groups") == {name: in_words(value) for name, value in of_groups.items()}
    kinds: tuple[Any, ...] = (django_events.Batch, django_events.Backoff)
    for kind in kinds:
        assert defaults(f"`{kind.__name__}`") == {each.name: in_words(each.default) for each in fields(kind)}
    assert defaults("Of handlers")["ordered"] == f"`{Calling().ordered}`"
    policy = FailurePolicy()
    tries, later = policy.backoff, policy.later
    assert (tries, policy.timeout) == (django_events.Backoff(), RETRIED_FOR)
    assert (tries.factor, later.factor) == (2, 2)
    assert defaults("When a handler fails") == {
        "on_failure": f"`{policy.on_failure.name}`",
        "retry": f"{tries.first:g} s doubling to {tries.max:g} s, ± {tries.jitter * 100:g} %",
        "timeout": f"{RETRIED_FOR:g}; none if `retry` is a number",
        "never_retry": "none",
        "retry_later": f"{later.first:g} s doubling to {later.max / 60:g} min",
    }
    assert defaults("Of broadcast handlers")["timeout"] == f"{broadcasting.TIMEOUT:g}"
    assert f"{SHUTDOWN_TIMEOUT:g} unless you say otherwise" in (DOCS / "stopping-consumers.md").read_text()


def defaults(heading: str) -> dict[str, str]:
    """By option, what the table under this heading of options.md has as its default."""
    section = (DOCS / "options.md").read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    header, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return {row[0].strip("`"): row[header.index("Default")] for row in rows}


def in_words(default: Any) -> str:
    """As the page writes it."""
    if isinstance(default, str):
        return f'`"{default}"`'
    return f"{default:,}" if isinstance(default, int) else f"{default:g}"


def first_cells(page: str) -> list[str]:
    """Of the rows of a page's tables."""
    return [line.split("|")[1] for line in (DOCS / page).read_text().splitlines() if line.startswith("|")]


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


def test_every_test_that_is_named_exists() -> None:
    """Promises, and the words of Go, name the tests that show them."""
    tests = {file.name: file.read_text() for file in (ROOT / "tests").rglob("test_*.py")}
    named = {found for page in PAGES for found in re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", page.read_text())}
    assert len(named) > 40
    assert not [(file, name) for file, name in named if not has(tests.get(file), name)]


def has(file: str | None, test: str) -> bool:
    """Whether there is such a file and, if one is named, this test in it."""
    return file is not None and (not test or f"def {test}(" in file)


def test_every_row_about_go_names_a_test() -> None:
    tables = (DOCS / "coming-from-go.md").read_text().partition("\n## On the wire")[0]
    rows = [line for line in tables.splitlines() if line.startswith("| ") and not line.startswith("| In Go")]
    assert len(rows) > 30
    assert not [row for row in rows if "`test_" not in row.split(" | ")[-1]]
    of_consuming = tables.partition("\n## Consuming\n")[2]
    assert not [row for row in rows if row in of_consuming and "::test_" not in row.split(" | ")[-1]]


def test_every_page_is_in_the_lists_of_the_index() -> None:
    """Sphinx sees to it that it is in a table of contents."""
    lists, _, tables = (DOCS / "index.md").read_text().partition("```{toctree}")
    of_the_project = set(tables.rpartition(":caption: The project")[2].split())
    pages = {page.stem for page in DOCS.glob("*.md")} - {"index"} - of_the_project
    assert not sorted(pages - set(re.findall(r"\]\(([\w-]+)\.md", lists)))


def test_every_command_can_be_given() -> None:
    named = [(page.name, *found) for page in PAGES for found in re.findall(COMMAND, page.read_text(), re.M)]
    assert len(named) > 60
    for page, command, options in named:
        words = shlex.split(options.replace("ID", "1"))
        if "--help" in words:
            continue
        try:
            load_command_class("django_events", command).create_parser("manage.py", command).parse_args(words)
        except CommandError as error:
            raise AssertionError(f"{page}: manage.py {command} {options}: {error}") from error


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
