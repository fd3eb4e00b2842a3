"""What waits for a worker: a queue for each (handler, topic, key), so that one key's events run one after the other.

No threads here: the group's thread owns it.
"""

import heapq
from collections import OrderedDict, deque
from collections.abc import Hashable
from itertools import count

from django_events.consuming.work import Work


class Queues:
    """The queues of one group. A work stays at the head of its queue until it is finished, also while it waits."""

    def __init__(self) -> None:
        self._queues: dict[Hashable, deque[Work]] = {}
        self._ready: OrderedDict[Hashable, None] = OrderedDict()
        self._waiting: dict[Hashable, float] = {}
        self._clock: list[tuple[float, int, Hashable]] = []
        self._ticket = count()
        self.active = 0
        """Works that do not wait for a retry, nor behind one."""

    def add(self, work: Work) -> None:
        """Put the work at the end of its queue."""
        queue = self._queues.get(work.queue)
        if queue is None:
            self._queues[work.queue] = deque((work,))
            self._ready[work.queue] = None
        else:
            queue.append(work)
        if work.queue not in self._waiting:
            self.active += 1

    def take(self) -> Work | None:
        """The next work that may run now; its queue rests until ``finished`` or ``again``."""
        return self._queues[self._ready.popitem(last=False)[0]][0] if self._ready else None

    def finished(self, work: Work) -> None:
        """The work that was taken is done with: the next of its queue may run."""
        queue = self._queues[work.queue]
        queue.popleft()
        self.active -= 1
        self._rest(work.queue, queue)

    def again(self, work: Work, due: float) -> None:
        """The work that was taken runs again at this moment (time.monotonic), before the rest of its queue."""
        self._waiting[work.queue] = due
        self.active -= len(self._queues[work.queue])
        heapq.heappush(self._clock, (due, next(self._ticket), work.queue))

    def wake(self, now: float) -> None:
        """Works whose time has come may run."""
        while self._clock and self._clock[0][0] <= now:
            due, _, name = heapq.heappop(self._clock)
            if self._waiting.get(name) == due:
                del self._waiting[name]
                self.active += len(self._queues[name])
                self._ready[name] = None

    def next_due(self) -> float | None:
        """The moment (time.monotonic) of the next retry."""
        return self._clock[0][0] if self._clock else None

    def drop_ended(self, running: set[Work]) -> None:
        """Forget the works of partitions that are not ours any more, but for those that a worker has."""
        for name in list(self._queues):
            self._drop_ended_of(name, running)

    def finished_too_late(self, work: Work, running: set[Work]) -> None:
        """The work that was taken is done with, after its partition was given up: its queue has no more of that."""
        if work.queue in self._queues:
            self._drop_ended_of(work.queue, running)

    def _drop_ended_of(self, name: Hashable, running: set[Work]) -> None:
        queue = self._queues[name]
        if not any(work.progress.ended for work in queue):
            return
        head_stays = queue[0] in running or not queue[0].progress.ended
        kept = deque(work for work in queue if not work.progress.ended or work in running)
        if name not in self._waiting:
            self.active -= len(queue) - len(kept)
        self._queues[name] = kept
        if not head_stays:
            self._let_next_run(name)

    def _let_next_run(self, name: Hashable) -> None:
        """The head of a queue is gone, and no worker had it: its successor, if there is one, may run."""
        queue = self._queues[name]
        if self._waiting.pop(name, None) is not None:
            self.active += len(queue)
        self._ready.pop(name, None)
        self._rest(name, queue)

    def _rest(self, name: Hashable, queue: deque[Work]) -> None:
        if queue:
            self._ready[name] = None
        else:
            del self._queues[name]
