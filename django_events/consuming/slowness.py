"""Reports of what takes long: a handler that does not return, a record that holds its partition's offset back."""

import logging
import time
from collections.abc import Collection, Sequence

from django_events.consuming.calls import Call
from django_events.consuming.naming import fields_of_place, name_of_record
from django_events.consuming.offsets import InHand, Progress
from django_events.consuming.queues import Queues
from django_events.consuming.work import Work

logger = logging.getLogger("django_events.group")

LONG = 60.0
"""Seconds after which it is said that something takes long; and again when it does not any more."""


HANGS = 300.0
"""Seconds without a round after which a thread is taken to hang that works with the database in its rounds: longer than
an attempt to connect to one that does not answer, which no new start of the process would mend."""


def hangs(last_round: float) -> bool:
    """Whether the thread of which the last round began at this moment (time.monotonic) hangs."""
    return time.monotonic() - last_round > HANGS


class Slowness:
    """What the owner of some workers has reported. Used by its thread alone. A look is cheap: it reads what is known,
    asks nobody, and reports what has changed since the last one."""

    def __init__(self) -> None:
        self._stuck: dict[Call, float] = {}
        self._held: dict[InHand, Progress] = {}
        self.oldest: Call | None = None
        """The call that had been running for longest at the last look. Other threads may read it."""

    @property
    def is_stuck(self) -> bool:
        """Whether a handler was running for too long at the last look."""
        return bool(self._stuck)

    def look_at_calls(self, running: Collection[Call]) -> None:
        """These calls of handlers have not returned."""
        now = time.monotonic()
        self.oldest = min(running, key=lambda call: call.began, default=None)
        for call in running:
            if now - call.began > LONG and call not in self._stuck:
                self._stuck[call] = call.began
                logger.warning(
                    "%s has been running for %.0f s; is it stuck?", call, now - call.began, extra=call.fields
                )
        for call in self._stuck.keys() - set(running):
            del self._stuck[call]
            logger.info("%s is not stuck any more, after %.0f s", call, now - call.began, extra=call.fields)

    def look_at_offsets(self, partitions: Collection[Progress], queues: Queues) -> None:
        """These partitions are ours, and this is what waits of them."""
        now = time.monotonic()
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
                    extra = fields_of_place(progress.partition, record.offset)
                    after = now - record.since
                    logger.info("The offset of %s goes on, after %.0f s", progress.partition, after, extra=extra)

    def _say_held(self, progress: Progress, record: InHand, works: Sequence[Work], now: float) -> None:
        logger.warning(
            "The offset of %s has stayed at %d for %.0f s, with %d later records in hand: %s",
            progress.partition,
            record.offset,
            now - record.since,
            progress.in_hand - 1,
            "; ".join(_state(work, now) for work in works) or "its handlers are being waited for",
            extra=fields_of_place(progress.partition, record.offset, works[0].handler if len(works) == 1 else None),
        )


def _state(work: Work, now: float) -> str:
    what = f"handler {work.handler} is not done with {name_of_record(work.handler, work.record)}"
    if work.attempts:
        what += f", attempt {work.attempts} has failed"
    if work.queue.due is not None and work.queue.due > now:
        waits = work.queue.due - now
        what += f", next try in {waits:.0f} s" if waits < float("inf") else ", and this process will not try it again"
    return what
