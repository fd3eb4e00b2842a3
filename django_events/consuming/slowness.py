"""Reports of what takes long: a handler that does not return, a record that holds its partition's offset back."""

import logging
import time
from collections.abc import Collection

from django_events.consuming import calls
from django_events.consuming.calls import Call
from django_events.consuming.naming import name_of_record
from django_events.consuming.offsets import InHand, Progress
from django_events.consuming.queues import Queues
from django_events.consuming.work import Work

logger = logging.getLogger("django_events.group")

LONG = 60.0
"""Seconds after which it is said that something takes long; and again when it does not any more."""


class Slowness:
    """What one group has reported, or one broadcast handler. Used by its thread alone."""

    def __init__(self, group: str, handler: str | None = None) -> None:
        """``handler``: the only one that is looked at; all of the group if None."""
        self._group = group
        self._handler = handler
        self._stuck: dict[Call, float] = {}
        self._held: dict[InHand, Progress] = {}

    def look(self, partitions: Collection[Progress], queues: Queues) -> None:
        """Report what has changed since the last look. Cheap: reads what is known, asks nobody."""
        now = time.monotonic()
        self._look_at_calls(now)
        self._look_at_offsets(partitions, queues, now)

    @property
    def is_stuck(self) -> bool:
        """Whether a handler was running for too long at the last look."""
        return bool(self._stuck)

    def _look_at_calls(self, now: float) -> None:
        running = calls.running(self._group, self._handler)
        for call in running:
            if now - call.began > LONG and call not in self._stuck:
                self._stuck[call] = call.began
                logger.warning("%s has been running for %.0f s; is it stuck?", call, now - call.began)
        for call in self._stuck.keys() - set(running):
            del self._stuck[call]
            logger.info("%s is not stuck any more, after %.0f s", call, now - call.began)

    def _look_at_offsets(self, partitions: Collection[Progress], queues: Queues, now: float) -> None:
        for progress in partitions:
            oldest = progress.oldest
            if oldest and oldest not in self._held and now - max(oldest.since, progress.moved_at) > LONG:
                self._held[oldest] = progress
                held_by = [work for work in queues.all_works() if work.in_hand is oldest]
                self._say_held(progress, oldest, held_by, now)
        for record, progress in list(self._held.items()):
            if not record.handlers_left or progress.ended:
                del self._held[record]
                if not progress.ended:
                    name = f"{progress.partition.topic}[{progress.partition.number}]"
                    logger.info("The offset of %s goes on, after %.0f s", name, now - record.since)

    def _say_held(self, progress: Progress, record: InHand, works: Collection[Work], now: float) -> None:
        place = f"{progress.partition.topic}[{progress.partition.number}]"
        logger.warning(
            "The offset of %s has stayed at %d for %.0f s, with %d later records in hand: %s",
            place,
            record.offset,
            now - record.since,
            progress.in_hand - 1,
            "; ".join(_state(work, now) for work in works) or "its handlers are being waited for",
        )


def _state(work: Work, now: float) -> str:
    what = f"handler {work.handler} is not done with {name_of_record(work.handler, work.record)}"
    if work.attempts:
        what += f", attempt {work.attempts} has failed"
    if work.queue.due is not None and work.queue.due > now:
        waits = work.queue.due - now
        what += f", next try in {waits:.0f} s" if waits < float("inf") else ", and this process will not try it again"
    return what
