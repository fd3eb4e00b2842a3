"""What librdkafka wants to say goes to Python's logging, quietly and without ever raising.

librdkafka hands log lines over inside ``poll()``, and an exception there throws fetched records away.
"""

import logging
from contextlib import suppress


class _SafeHandler(logging.Handler):
    """Passes lines on to ``django_events.librdkafka`` at DEBUG, and swallows whatever goes wrong there."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):  # raising here would lose records, and there is nobody to tell
            _TARGET.debug("%s", record.getMessage())


_TARGET = logging.getLogger("django_events.librdkafka")

QUIET_LOGGER = logging.Logger("django_events.librdkafka.raw")
"""The logger that every client gets. It is not in the tree of loggers, so no site's handler can raise through it."""
QUIET_LOGGER.addHandler(_SafeHandler())
