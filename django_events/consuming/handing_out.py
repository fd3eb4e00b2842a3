"""Which works go to the workers next, how many of them together, and which of them are there now."""

from collections import Counter
from collections.abc import Sequence

from django_events import metrics
from django_events.consuming.crews import Crews
from django_events.consuming.letter_writer import LetterWriter
from django_events.consuming.queues import Queues
from django_events.consuming.sharing import LONGEST, LONGEST_SINGLY, MOST
from django_events.consuming.work import Work
from django_events.consuming.workers import Unit, Workers
from django_events.handlers import Handler

AHEAD = 2
"""Units for each worker, the one that it has included, so that none is idle while the group's thread is at Kafka."""
LEAST_PLENTY, MOST_PLENTY = 100, 500
"""Events of one handler that may be tried and are more than its workers do while the group's thread goes its round. No
more than needed: together with those that workers have, they are to fit into the processor's cache."""


class HandingOut:
    """Used by the thread of the group, or of the broadcast handler, alone."""

    def __init__(
        self,
        handlers: Sequence[Handler],
        queues: Queues,
        workers: Workers[list[Work]],
        letter_writer: LetterWriter | None = None,
        *,
        has_crews: bool = True,
    ) -> None:
        """``letter_writer`` is needed where failures become dead letters. ``has_crews``: whether short calls get fewer
        workers while Python is busy; for those who look at least every some hundredths of a second."""
        self._handlers = list(handlers)
        self._queues = queues
        self._workers = workers
        self._letter_writer = letter_writer
        self._has_crews = has_crews
        self._crews = Crews(
            [handler.name for handler in handlers], workers.count, lambda handler: workers.sharing(handler).used
        )
        self._units = 0
        self._units_of: Counter[str] = Counter()
        self.out: set[Work] = set()
        """The works that a worker has, or the writer of letters."""

    def hand_out(self, now: float) -> None:
        """Give out what may be tried now, a unit of each handler in turn, as long as workers have less than enough."""
        self._crews.look(now)
        while self._letter_writer and (letter := self._queues.take_letter()):
            self.out.add(letter)
            letter.handed_out(now)
            self._letter_writer.submit(letter)
        has_given = True
        while has_given:
            has_given = False
            for handler in self._in_turn():
                if self._is_enough:
                    return
                if works := self._take(handler, now):
                    self._submit(handler, works, now)
                    has_given = True

    def came_back(self, works: Sequence[Work]) -> None:
        """These works have been tried."""
        self.out.difference_update(works)
        if not works[0].letter:
            self._units -= 1
            self._units_of[works[0].handler.name] -= 1

    def units_of(self, handler: Handler) -> int:
        """How many units of this handler the workers have."""
        return self._units_of[handler.name]

    @property
    def has_plenty(self) -> bool:
        """Whether each handler has more to try than its workers do in a moment."""
        return all(self._queues.line(handler.name).works >= self._plenty(handler) for handler in self._handlers)

    def next_batch_due(self) -> float | None:
        """The moment (time.monotonic) at which a batch begins although it is not full. None also while no worker could
        have it: it begins when one comes back."""
        with_batches = [handler for handler in self._handlers if handler.calling.batch]
        free = [handler for handler in with_batches if not (self._is_enough or self._has_enough(handler))]
        batches = [(handler.calling.batch, self._queues.line(handler.name)) for handler in free]
        return min((line.since + batch.wait for batch, line in batches if batch and line.works), default=None)

    @property
    def _is_enough(self) -> bool:
        """Whether the workers have all that they are to have ahead."""
        return self._units >= self._workers.count * AHEAD

    def _has_enough(self, handler: Handler) -> bool:
        """Whether as many units of this handler are with the workers as may be."""
        return self._free(handler) <= 0

    def _plenty(self, handler: Handler) -> int:
        if batch := handler.calling.batch:
            return max(MOST_PLENTY, AHEAD * batch.size * batch.parallel)
        return min(max(LEAST_PLENTY, self._crews[handler.name].size * MOST), MOST_PLENTY)

    def _free(self, handler: Handler) -> int:
        """How many more units of this handler the workers may have."""
        out, crew = self._units_of[handler.name], self._crews[handler.name]
        most = handler.calling.at_once or self._workers.count * AHEAD
        is_short = not handler.calling.batch and self._fitting(handler) > 1
        if self._has_crews and is_short and not crew.is_whole:
            crew.was_too_small |= out >= crew.size
            most = min(most, crew.size)
        return most - out

    def _fitting(self, handler: Handler) -> int:
        """How many events of this handler are done in one go."""
        longest = LONGEST if handler.shares_transactions else LONGEST_SINGLY
        return self._workers.sharing(handler.name).fitting(longest)

    def _in_turn(self) -> list[Handler]:
        """All handlers, beginning with another one each time."""
        self._handlers.append(self._handlers.pop(0))
        return self._handlers

    def _take(self, handler: Handler, now: float) -> list[Work]:
        """The next unit of this handler; empty if there is none now."""
        line = self._queues.line(handler.name)
        if not line.works or self._has_enough(handler):
            return []
        batch = handler.calling.batch
        if batch is not None:
            return self._queues.take(handler.name, batch.size) if line.is_full_or_old(batch, now) else []
        idle = min(self._workers.count - self._units, self._free(handler))
        fitting = self._fitting(handler)
        is_worth_a_wait = 1 < fitting <= line.works
        if idle <= 0 and self._units_of[handler.name] and not is_worth_a_wait:
            return []  # another of its units would wait for a worker; while it waits here, it may become more
        # What there is goes to all idle workers alike. A slow handler's events go singly: none waits behind another.
        return self._queues.take(handler.name, min(fitting, max(1, line.works // max(1, idle))))

    def _submit(self, handler: Handler, works: list[Work], now: float) -> None:
        self.out.update(works)
        self._units += 1
        self._units_of[handler.name] += 1
        metrics.HANDLER_BATCH.of(handler.group, handler.name).observe(len(works))
        for work in works:
            work.handed_out(now)
        unit = Unit(
            works,
            handler,
            [work.record for work in works],
            works[0].attempts + 1,
            [work.progress for work in works],
            has_waited=any(work.delays for work in works),
        )
        self._workers.submit(unit)
