"""A file that is young as long as a process is well: what a container's health check looks at."""

import logging
import time
from pathlib import Path

from django.core.management.base import CommandError

logger = logging.getLogger("django_events.group")

INTERVAL = 1.0
"""Seconds between two touches, at least."""


class HealthFile:
    """An empty file whose age tells when the process was well last. Used by one thread."""

    def __init__(self, path: Path) -> None:
        """Raises CommandError for a path at which there cannot be such a file. Afterwards there is none."""
        self._path = path
        self._due = 0.0
        self._has_failed = False
        try:
            if path.exists() and (not path.is_file() or path.stat().st_size):
                raise CommandError(
                    f"--health-file {path} is there and is no empty file. Name a file that is for this alone."
                )
            path.touch()
            path.unlink()
        except OSError as error:
            raise CommandError(
                f"--health-file {path} cannot be written: {error.strerror}. Name a file in a folder that this user "
                "may write to."
            ) from error

    def touch(self) -> None:
        """The process is well. Writes at most once a second; makes or renews the file in one step. Never raises."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + INTERVAL
        try:
            self._path.touch()
        except OSError as error:
            if not self._has_failed:
                logger.error("The health file %s cannot be written any more: %s", self._path, error.strerror)
            self._has_failed = True
        else:
            if self._has_failed:
                logger.warning("The health file %s can be written again", self._path)
            self._has_failed = False

    def remove(self) -> None:
        """The process ends. Never raises."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            logger.error("The health file %s cannot be removed: %s", self._path, error.strerror)
