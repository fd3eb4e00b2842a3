"""Copies the tests and what they need to another folder, where only an installed package can be imported.

usage: python tests/outside.py FOLDER
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "django_events"


def copy_to(folder: Path) -> None:
    """Make the folder anew with every file of the checkout that git knows, but for those of the package."""
    shutil.rmtree(folder, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in listed.splitlines():
        if not name.startswith(f"{PACKAGE}/") and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    if (ROOT / ".cache").is_dir():  # Kafka is fetched once
        (folder / ".cache").symlink_to(ROOT / ".cache")


if __name__ == "__main__":
    copy_to(Path(sys.argv[1]))
