"""Lanes and topics that are held back for a while, so that nobody else's events wait because of them."""

import logging
import time
from collections.abc import Iterable

from django_events.models import LaneName
from django_events.producing.trouble import Trouble
from django_events.retry import Backoff

logger = logging.getLogger("django_events.relay")

HELD = Backoff(first=1.0, max=30.0)


class Holds:
    """What is held back, each with its own clock. Owned by one thread."""

    def __init__(self) -> None:
        self._troubles: dict[str | LaneName, Trouble] = {}

    def hold_topic(self, topic: str, reason: str) -> None:
        """Hold all lanes of a topic back: Kafka does not know it, or refuses it."""
        self._trouble(topic, f"Topic {topic!r} is held back").began(reason, logging.ERROR)

    def hold_lane(self, lane: LaneName, reason: str) -> None:
        """Hold one lane back: its first row is refused."""
        what = f"Lane {lane.number} of topic {lane.topic!r} is held back"
        self._trouble(lane, what).began(reason, logging.ERROR)

    def release(self, lanes: Iterable[LaneName]) -> None:
        """These lanes could be sent: forget what held them."""
        for lane in lanes:
            for held in (lane, lane.topic):
                if trouble := self._troubles.pop(held, None):
                    trouble.ended()

    def held(self, lanes: Iterable[LaneName]) -> set[LaneName]:
        """Those of the lanes whose time has not come."""
        if not self._troubles:
            return set()
        now = time.monotonic()
        return {lane for lane in lanes if self._until(lane) > now}

    def next_due(self, lanes: Iterable[LaneName]) -> float:
        """The moment (time.monotonic) at which the first of these lanes may be tried."""
        return min((self._until(lane) for lane in lanes), default=0.0)

    def _trouble(self, held: str | LaneName, what: str) -> Trouble:
        return self._troubles.setdefault(held, Trouble(what, logger, HELD))

    def _until(self, lane: LaneName) -> float:
        found = (self._troubles.get(lane), self._troubles.get(lane.topic))
        return max((trouble.until for trouble in found if trouble), default=0.0)
