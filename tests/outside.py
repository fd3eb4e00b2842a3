"""Copies the tests and what they need to another folder, where only an installed package can be imported.

usage: python tests/outside.py FOLDER
"""

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "django_events"

NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".*_cache", ".cache", ".hypothesis", ".tox", ".venv", "__pycache__", "_build", "*.egg-info", "*.sqlite3*",
    "build", "dist", "profiles",
)  # fmt: skip
"""What a checkout has beside its files, or an unpacked sdist."""


def copy_to(folder: Path) -> None:
    """Make the folder anew with every file that is here, but for those of the package."""
    left_out = {PACKAGE, folder.resolve()}

    def not_wanted(parent: str, names: list[str]) -> set[str]:
        return {*NOT_SOURCE(parent, names), *(name for name in names if Path(parent, name) in left_out)}

    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT, folder, ignore=not_wanted)
    if (ROOT / ".cache").is_dir():  # Kafka is fetched once
        (folder / ".cache").symlink_to(ROOT / ".cache")


if __name__ == "__main__":
    copy_to(Path(sys.argv[1]))
