"""The tutorial, letter by letter: with the built wheel, in a virtual environment of its own, in an empty folder."""

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import page
from tests.packages import ROOT, Packages
from tests.page import Command, File, Looked, Said, is_shown
from tests.reader import Reader
from tests.services.server import free_ports

OURS = ("COLUMNS", "DATABASE_URL", "DJANGO_SETTINGS_MODULE", "KAFKA_BOOTSTRAP_SERVERS", "PYTHONPATH", "VIRTUAL_ENV")

SETTINGS = """
from bookshop.settings import *
from django.core.management.commands.runserver import Command

Command.default_port = "{port}"
DJANGO_EVENTS = {{
    **globals().get("DJANGO_EVENTS", {{}}),
    "KAFKA": {{"bootstrap.servers": "{kafka}"}},
    "PREFIX": "{prefix}",
    "EXIT_TIMEOUT": 120.0,  # a busy machine
}}
"""
"""What the tutorial's settings cannot know: where Kafka is, what port is free, and that others use this Kafka."""


@pytest.fixture
def reader(tmp_path: Path, packages: Packages) -> Iterator[Reader]:
    """In an empty folder, with nothing of this checkout but the built wheel."""
    prefix, (port,) = f"t{uuid.uuid4().hex[:10]}.", free_ports(1)
    kafka = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
    for folder in ("site", "beside"):
        (tmp_path / folder).mkdir()
    (tmp_path / "beside" / "of_the_test.py").write_text(SETTINGS.format(port=port, kafka=kafka, prefix=prefix))
    env = {name: text for name, text in os.environ.items() if name not in OURS} | {
        "PATH": f"{sys.base_prefix}/bin:{os.environ['PATH']}",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_FIND_LINKS": str(packages.wheel.parent),
        "PYTHONPATH": str(tmp_path / "beside"),
        "DJANGO_SETTINGS_MODULE": "of_the_test",
    }
    reader = Reader(tmp_path / "site", env, f"http://127.0.0.1:{port} ann:tutorial", {prefix: ""})
    yield reader
    reader.end()


@pytest.mark.kafka
def test_the_tutorial_works_letter_by_letter(reader: Reader) -> None:
    for step in page.steps((ROOT / "docs" / "tutorial.md").read_text()):
        reader.follow(step)


def test_a_page_is_read_as_its_steps() -> None:
    text = (
        "```python\n# shop/x.py, at the end\nx = 1\n```\n```sh\nnot this\n```\n"
        "```console\n$ one\n1\n$ two  # leave it running\n```\n"
        "```console\n# in the terminal of two\n2\n```\n"
        '<!-- browser: /admin/ shows "Log in" -->\n<!-- browser: /x/ shows "X" -->\n'
    )
    assert list(page.steps(text)) == [
        File("shop/x.py", "# shop/x.py, at the end\nx = 1\n", is_added=True),
        Command("one", "1\n", stays=False),
        Command("two", "", stays=True),
        Said("two", "2\n"),
        Looked("/admin/", "Log in"),
        Looked("/x/", "X"),
    ]


@pytest.mark.parametrize(
    ("expected", "output", "is_good"),
    [
        ("", "anything\n", True),
        ("a … c\n", "x\na   b  c\ny\n", True),
        ("a … c\n", "a b\nc\n", False),
        ("a\n…\nc\n", "a\nb\nb\nc\n", True),
        ("a\nc\n", "a\nb\nc\n", False),
        ("ab\n", "abc\n", False),
        ("  a 1\n", "a  1", True),
    ],
)
def test_what_is_shown_may_leave_out_only_what_the_page_leaves_out(expected: str, output: str, is_good: bool) -> None:
    assert is_shown(expected, output) is is_good
