"""Log lines that every event may cause: the first ones of a kind are logged, the others are counted.

A topic that cannot be read, or a database that is away, would else write a line for each of a million events.
"""

import logging
import time
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

MOST = 10
"""Lines of one kind that are logged in a window: enough to see whether all are the same."""

WINDOW = 60.0
"""Seconds, from the first line on."""

KINDS = 1_000
"""Kinds that are remembered; above, the oldest are forgotten, and a line too many is logged."""


@dataclass(slots=True)
class _Window:
    until: float
    """Of time.monotonic."""
    count: int = 0


_windows: dict[Hashable, _Window] = {}


def log(logger: logging.Logger, level: int, kind: Hashable, text: str, *arguments: object, **options: Any) -> None:
    """As ``logger.log``, but only so often for lines of this text and kind. The last that is logged says so, and the
    first of the next window how many were left out.

    Thread-safe without a lock, which a fork could leave taken: two threads at once may miscount by one.
    """
    now = time.monotonic()
    key = (logger.name, text, kind)
    window, left_out = _windows.get(key), 0
    if window is None or now >= window.until:
        left_out = max(window.count - MOST, 0) if window else 0
        window = _begin(key, now)
    window.count += 1
    if window.count > MOST:
        return
    if left_out:
        text += f" ({left_out:,} more like this were not logged)"
    elif window.count == MOST:
        text += f" (more like this are only counted for the next {window.until - now:.0f} s)"
    logger.log(level, text, *arguments, stacklevel=2, **options)


def forget() -> None:
    """Begin anew. For tests."""
    _windows.clear()


def _begin(key: Hashable, now: float) -> _Window:
    _windows.pop(key, None)  # to the end, so that the oldest stand first
    while len(_windows) >= KINDS:
        _windows.pop(next(iter(_windows)), None)
    window = _windows[key] = _Window(now + WINDOW)
    return window
