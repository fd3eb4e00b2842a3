"""The lanes of one database that may have rows to send."""

import threading
from collections.abc import Collection, Iterable

from django_events.models import LaneName


class WaitingLanes:
    """An ordered set of lanes. Thread-safe: committing threads add, the one that sends takes.

    A lane is taken out after it is locked and before it is read: what is committed later adds it again.
    """

    def __init__(self, lanes: Iterable[LaneName] = ()) -> None:
        self._lock = threading.Lock()
        self._lanes: dict[LaneName, None] = dict.fromkeys(lanes)

    def add(self, lanes: Iterable[LaneName]) -> None:
        """Add the lanes at the end; one that is in already keeps its place."""
        with self._lock:
            self._lanes.update(dict.fromkeys(lanes))

    def remove(self, lanes: Iterable[LaneName]) -> None:
        """Take the lanes out, if they are in."""
        with self._lock:
            for lane in lanes:
                self._lanes.pop(lane, None)

    def first(self, count: int, without: Collection[LaneName] = ()) -> list[LaneName]:
        """The first lanes of the set, at most ``count``, leaving out some."""
        with self._lock:
            found = [lane for lane in self._lanes if lane not in without]
        return found[:count]

    def __len__(self) -> int:
        return len(self._lanes)
