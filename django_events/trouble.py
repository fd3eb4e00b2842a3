"""Something outside does not work: how long to wait, and one log line per change of state."""

import logging
import math
import time

from django_events import log_fields, metrics
from django_events.retry import Backoff


class Trouble:
    """The state of one thing that can fail and come back. Owned by one thread."""

    def __init__(
        self,
        category: str,
        what: str,
        logger: logging.Logger,
        backoff: Backoff,
        *,
        serious_after: float = math.inf,
        topic: str = "",
        group: str = "",
    ) -> None:
        """``category``: what metrics call it. ``what``: its name for people. ``backoff``: how long to wait between two
        tries. ``serious_after``: seconds after which it is an error. ``topic``, ``group``: fields that each line has
        beside its text."""
        self._category = category
        self._what = what
        self._logger = logger
        self._backoff = backoff
        self._serious_after = serious_after
        self._fields = log_fields.fields(topic=topic, group=group)
        self._said: tuple[str, int] | None = None
        self._failures = 0
        self._since = 0.0
        self.until = 0.0
        """The moment (time.monotonic) before which it need not be tried again."""

    @property
    def reason(self) -> str:
        """Why it did not work when it was last tried; empty if it did. Other threads may read it."""
        said = self._said
        return said[0] if said else ""

    @property
    def text(self) -> str:
        """What does not work and why; empty if all is well. Other threads may read it."""
        said = self._said
        return f"{self._what}: {said[0]}" if said else ""

    def began(self, reason: str, level: int = logging.WARNING, backoff: Backoff | None = None) -> None:
        """It failed (again). Logged when it is new or serious by now. ``backoff``: other waits for this reason."""
        now = time.monotonic()
        if not self._failures:
            self._since = now
        seconds = now - self._since
        is_serious = seconds >= self._serious_after
        level = logging.ERROR if is_serious else level
        if (reason, level) != self._said:
            for_how_long = f" for {seconds:.0f} s" if is_serious else ""
            text = "%s%s: %s. It is tried again until it works."
            self._logger.log(level, text, self._what, for_how_long, reason, extra=self._fields)
        self._said = reason, level
        self._failures += 1
        metrics.ERRORS.of(self._category).add()
        self.until = now + (backoff or self._backoff).delay(self._failures)

    def ended(self) -> None:
        """It worked. Logged when it did not before."""
        if self._failures:
            seconds = time.monotonic() - self._since
            self._logger.warning("%s: works again after %.1f s.", self._what, seconds, extra=self._fields)
        self._said, self._failures, self.until = None, 0, 0.0
