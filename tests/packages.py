"""The packages as they are released, built from this checkout."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.outside import NOT_SOURCE, ROOT

__all__ = ["ROOT", "Packages", "build", "has_source"]


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
