"""Topics that are held back for a while, so that nobody else's events wait because of them."""

import logging
import threading
import time
from collections.abc import Collection, Iterable

from django_events.models import LaneName
from django_events.retry import Backoff
from django_events.trouble import Trouble

logger = logging.getLogger("django_events.relay")

INCOMPLETE = Backoff(first=0.05, max=5.0)
"""Seconds between two looks whether Kafka has all of a topic. Short at first: mostly a partition gets another leader. A
look is one question about all topics, and nobody waits for it."""

REFUSED = Backoff(first=0.05, max=30.0)
"""Seconds between two tries of a topic that Kafka refuses: each costs a producer."""

SILENT = Backoff(first=2.0, max=30.0)
"""Seconds between two tries of a topic whose events Kafka does not acknowledge: in each, all others wait with it."""

LASTING = 10.0
"""Seconds after which a topic that is held back is an error: a new leader is found sooner."""


class Holds:
    """What is held back, each with its own clock. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._troubles: dict[str, Trouble] = {}

    def hold(self, topic: str, reason: str, backoff: Backoff) -> None:
        """Hold all lanes of a topic back: Kafka lacks it, or a part of it, refuses it, or does not answer about it."""
        with self._lock:
            trouble = self._troubles.get(topic)
            if trouble is None:
                what = f"Topic {topic!r} is held back"
                trouble = Trouble("topic", what, logger, backoff, serious_after=LASTING, topic=topic)
                self._troubles[topic] = trouble
            trouble.began(reason, backoff=backoff)

    def release(self, topics: Iterable[str]) -> None:
        """Something could be sent to these topics, by us or by others: forget what held them."""
        with self._lock:
            for topic in topics:
                if trouble := self._troubles.pop(topic, None):
                    trouble.ended()

    def keep_only(self, topics: Collection[str]) -> None:
        """Nothing of any other topic waits: forget what held them."""
        with self._lock:
            self.release([topic for topic in self._troubles if topic not in topics])

    @property
    def troubles(self) -> list[str]:
        """What is held back, and why."""
        return [trouble.text for trouble in list(self._troubles.values())]

    def held(self, lanes: Iterable[LaneName]) -> set[LaneName]:
        """Those of the lanes whose time has not come."""
        if not self._troubles:
            return set()
        now = time.monotonic()
        return {lane for lane in lanes if self._until(lane) > now}

    def next_due(self, lanes: Iterable[LaneName]) -> float:
        """The moment (time.monotonic) at which the first of these lanes may be tried."""
        return min((self._until(lane) for lane in lanes), default=0.0)

    def _until(self, lane: LaneName) -> float:
        trouble = self._troubles.get(lane.topic)
        return trouble.until if trouble else 0.0
