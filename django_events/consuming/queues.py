"""What waits for a worker: a queue for each (handler, topic, key), so that one key's events run one after the other.

No threads here: the group's thread owns it.
"""

import heapq
from collections import Counter, OrderedDict, deque
from collections.abc import Hashable, Sequence
from itertools import count

from django_events.calling import Batch
from django_events.consuming.trying import queue_name
from django_events.consuming.work import Work


class Queue:
    """The works of one key at one handler, in order. The first ``lent`` of them are somewhere being tried."""

    __slots__ = ("due", "is_in_line", "lent", "line", "name", "works")

    def __init__(self, name: Hashable, line: "Line") -> None:
        self.name = name
        self.line = line
        """Of its handler."""
        self.is_in_line = False
        self.works: list[Work] = []
        self.lent = 0
        self.due: float | None = None
        """The moment (time.monotonic) of the retry for which all of it waits."""


class Line:
    """The queues of one handler that have something to try."""

    __slots__ = ("handler", "queues", "works")

    def __init__(self, handler: str) -> None:
        self.handler = handler
        self.queues: deque[Queue] = deque()
        self.works = 0
        """In all of these queues."""

    @property
    def since(self) -> float:
        """The moment (time.monotonic) from which on what is next has waited. Not for an empty line."""
        return self.queues[0].works[0].since

    def is_full_or_old(self, batch: Batch, now: float) -> bool:
        """Whether a batch may begin: it has its size, what is next has waited long enough, or is tried alone anyway.
        Not for an empty line."""
        is_alone = self.queues[0].works[0].runs_alone
        return is_alone or self.works >= batch.size or now >= self.since + batch.wait


class Queues:
    """The queues of one group. A work stays in its queue until it is done with, also while it runs or waits."""

    def __init__(self) -> None:
        self._queues: dict[Hashable, Queue] = {}
        self._lines: dict[str, Line] = {}
        self._letters: OrderedDict[Queue, None] = OrderedDict()
        self._clock: list[tuple[float, int, Queue]] = []
        self._ticket = count()
        self.active = 0
        """Works that do not wait for a retry, nor behind one."""

    def line(self, handler: str) -> Line:
        """What this handler could try now."""
        line = self._lines.get(handler)
        if line is None:
            line = self._lines[handler] = Line(handler)
        return line

    def add(self, work: Work, now: float) -> None:
        """Put the work at the end of its queue."""
        name = queue_name(work.handler, work.record)
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = Queue(name, self.line(work.handler.name))
        work.queue, work.since = queue, now
        queue.works.append(work)
        if queue.due is None:
            self.active += 1
        if queue.is_in_line:
            queue.line.works += 1
        elif len(queue.works) == 1:
            self._make_ready(queue)

    def take(self, handler: str, most: int) -> list[Work]:
        """The next works of this handler that may be tried together; their queues rest until ``give_back``."""
        line = self.line(handler)
        taken: list[Work] = []
        while line.queues and len(taken) < most:
            queue = line.queues[0]
            is_alone = queue.works[0].runs_alone  # none but the first can have been tried before
            if taken and is_alone:
                break
            line.queues.popleft()
            line.works -= len(queue.works)
            queue.is_in_line = False
            taken += self._lend(queue, 1 if is_alone else most - len(taken))
            if is_alone:
                break
        return taken

    def take_letter(self) -> Work | None:
        """The next work whose letter is to be written; its queue rests until ``give_back``."""
        if not self._letters:
            return None
        (work,) = self._lend(self._letters.popitem(last=False)[0], 1)
        return work

    def give_back(self, queue: Queue, left: Sequence[Work], due: float | None) -> None:
        """The works that were taken of this queue have been tried. Those left of them go to its front again; with
        ``due`` (time.monotonic) all of the queue waits until then. If none of them was begun, it is still its turn."""
        had_no_turn = len(left) == queue.lent
        self.active -= queue.lent - len(left)
        queue.works[: queue.lent] = left
        queue.lent = 0
        if not queue.works:
            del self._queues[queue.name]
        elif due is not None:
            queue.due = due
            self.active -= len(queue.works)
            heapq.heappush(self._clock, (due, next(self._ticket), queue))
        else:
            self._make_ready(queue, first=had_no_turn)

    def wake(self, now: float) -> None:
        """Queues whose time has come may go on."""
        while self._clock and self._clock[0][0] <= now:
            due, _, queue = heapq.heappop(self._clock)
            if queue.due == due:
                self._end_wait(queue)
                self._make_ready(queue)

    def next_due(self) -> float | None:
        """The moment (time.monotonic) of the next retry."""
        return self._clock[0][0] if self._clock else None

    def drop_ended(self) -> None:
        """Forget the works of partitions that are not ours any more, but for those that are somewhere being tried."""
        for queue in list(self._queues.values()):
            if any(work.progress.ended for work in queue.works):
                self._drop_ended_of(queue)
        for line in self._lines.values():
            line.queues = deque(queue for queue in line.queues if queue.is_in_line)

    def waiting(self) -> Counter[str]:
        """By handler, how many works nobody tries just now: what is next, what comes behind another of its key, and
        what waits for its next try. Looks at all queues."""
        found: Counter[str] = Counter()
        for queue in self._queues.values():
            found[queue.line.handler] += len(queue.works) - queue.lent
        return found

    def all_works(self) -> Sequence[Work]:
        """All works, for those who look for a particular one."""
        return [work for queue in self._queues.values() for work in queue.works]

    def _drop_ended_of(self, queue: Queue) -> None:
        kept = [work for at, work in enumerate(queue.works) if at < queue.lent or not work.progress.ended]
        dropped = len(queue.works) - len(kept)
        head_is_gone = not queue.lent and queue.works[0].progress.ended
        queue.works = kept
        if queue.due is None:
            self.active -= dropped
        if queue.is_in_line:
            queue.line.works -= dropped
        if head_is_gone:
            self._letters.pop(queue, None)
            if queue.due is not None:
                self._end_wait(queue)
        if not kept:
            queue.is_in_line = False
            del self._queues[queue.name]
        elif head_is_gone and not queue.is_in_line:
            self._make_ready(queue)

    def _lend(self, queue: Queue, most: int) -> list[Work]:
        works = queue.works[:most]
        queue.lent = len(works)
        return works

    def _end_wait(self, queue: Queue) -> None:
        queue.due = None
        self.active += len(queue.works)

    def _make_ready(self, queue: Queue, *, first: bool = False) -> None:
        if queue.works[0].letter:
            self._letters[queue] = None
            return
        line = queue.line
        line.works += len(queue.works)
        queue.is_in_line = True
        if first or queue.works[0].runs_alone:
            line.queues.appendleft(queue)
        else:
            line.queues.append(queue)
