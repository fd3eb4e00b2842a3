"""Something outside does not work: how long to wait, and one log line per change of state."""

import logging
import time

from django_events.retry import Backoff


class Trouble:
    """The state of one thing that can fail and come back. Owned by one thread."""

    def __init__(self, what: str, logger: logging.Logger, backoff: Backoff) -> None:
        self._what = what
        self._logger = logger
        self._backoff = backoff
        self._reason = ""
        self._failures = 0
        self._since = 0.0
        self.until = 0.0
        """The moment (time.monotonic) before which it need not be tried again."""

    def began(self, reason: str, level: int = logging.WARNING) -> None:
        """It failed (again). Logged when it is new."""
        now = time.monotonic()
        if not self._failures:
            self._since = now
        if reason != self._reason:
            self._logger.log(level, "%s: %s. It is tried again until it works.", self._what, reason)
        self._reason = reason
        self._failures += 1
        self.until = now + self._backoff.delay(self._failures)

    def ended(self) -> None:
        """It worked. Logged when it did not before."""
        if self._failures:
            seconds = time.monotonic() - self._since
            self._logger.warning("%s: works again after %.1f s.", self._what, seconds)
        self._reason, self._failures, self.until = "", 0, 0.0
