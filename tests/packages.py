"""The packages as they are released, built from this checkout."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent

NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".*_cache", ".cache", ".hypothesis", ".tox", ".venv", "__pycache__", "_build", "*.egg-info", "*.sqlite3*",
    "build", "dist", "profiles",
)  # fmt: skip


class Packages(NamedTuple):
    """What ``python -m build`` makes: the wheel is built from the sdist."""

    sdist: Path
    wheel: Path


def has_source() -> bool:
    """Whether the package's source is here. tox tests a wheel from a folder without it."""
    return (ROOT / "django_events" / "__init__.py").exists()


def build(folder: Path) -> Packages:
    """Build both in this folder, from a copy: setuptools writes into the folder that it builds from."""
    shutil.copytree(ROOT, folder / "source", ignore=NOT_SOURCE)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", folder / "source"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    (sdist,), (wheel,) = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
    return Packages(sdist, wheel)
