"""What would be released: sdist and wheel, built from the checkout and looked at."""

import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

import django_events
from tests.packages import ROOT, Packages

NEEDED_BY_THE_SUITE = (
    "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "PACKAGE.md", "README.md", "SECURITY.md", "dev",
    "docs/tutorial.md", "docs/conf.py", "docs/images/dead-letter.png", "manage.py", "pyproject.toml", "setup.cfg",
    "testproject/settings.py", "tests/conftest.py", "tests/ledger/models.py", "tests/typing", "tox.ini",
    "benchmarks/__main__.py",
    "contrib/compose.yaml",
)  # fmt: skip


def test_the_wheel_has_the_package_and_nothing_else(packages: Packages) -> None:
    with zipfile.ZipFile(packages.wheel) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    package = ROOT / "django_events"
    files = (path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert names == {path.relative_to(ROOT).as_posix() for path in files}
    for folder in ("static", "templates"):
        assert any(name.startswith(f"django_events/{folder}/") for name in names)
    assert "django_events/py.typed" in names


def test_the_sdist_has_what_the_suite_and_the_site_need(packages: Packages) -> None:
    with tarfile.open(packages.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert not {name for name in NEEDED_BY_THE_SUITE if name not in names}
    assert not {name for name in names if "__pycache__" in name or name.startswith((".git", ".venv", "docs/_build"))}


def test_an_unpacked_sdist_is_enough_to_test_a_wheel(packages: Packages, tmp_path: Path) -> None:
    """``tox`` needs no checkout. Nor does it need git, which is not there."""
    with tarfile.open(packages.sdist) as sdist:
        sdist.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    outside = source / ".tox" / "outside"
    command = [sys.executable, "tests/outside.py", str(outside)]
    done = subprocess.run(
        command, cwd=source, env={"PATH": ""}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    assert not (outside / "django_events").exists()
    assert all((outside / name).exists() for name in NEEDED_BY_THE_SUITE)
    assert not [*outside.rglob(".tox")]


def test_the_index_takes_them_and_shows_their_page(packages: Packages) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, packages)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


def test_what_the_wheel_says_of_itself(packages: Packages) -> None:
    with zipfile.ZipFile(packages.wheel) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(wheel.read(name).decode())
    assert metadata["Version"] == django_events.__version__
    assert "Development Status :: 4 - Beta" in metadata.get_all("Classifier", [])
    assert str(metadata.get_payload()).strip() == (ROOT / "PACKAGE.md").read_text().strip()


def test_the_page_of_the_index_needs_no_files_beside_it() -> None:
    text = (ROOT / "PACKAGE.md").read_text()
    assert not re.findall(r"\]\((?!https://)|<img", text)


@pytest.mark.skipif("dev" in django_events.__version__, reason="between releases")
def test_the_version_has_its_section_in_the_changelog() -> None:
    assert re.search(
        rf"^## {re.escape(django_events.__version__)} \(\d{{4}}-\d\d-\d\d\)$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )
