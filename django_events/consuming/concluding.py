"""What follows when a unit comes back from a worker, or a dead letter from its writer: in groups and broadcast handlers
alike."""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import TypeAlias

from django_events.consuming.announcing import tell_dead_lettered
from django_events.consuming.handing_out import HandingOut
from django_events.consuming.metrics import count_outcomes
from django_events.consuming.outcome import Duplicate, Handled, LetterWritten, NotBegun, Outcome
from django_events.consuming.queues import Queue, Queues
from django_events.consuming.work import Work
from django_events.consuming.workers import Result

Follow: TypeAlias = Callable[[Work, Outcome, float], float | None]
"""Does what follows from an outcome that is no success, at this moment (time.monotonic). Returns the seconds until the
work is to be tried again, or its letter written; None if it is done with."""

_SUCCESSES = (Handled, Duplicate, LetterWritten)  # a union, written where it is asked for, would be made for each event


def conclude(
    result: Result[list[Work]],
    queues: Queues,
    handing_out: HandingOut,
    finished: Callable[[Work], None],
    follow: Follow,
) -> None:
    """Do what follows from the outcomes; then the queues of these works may go on, or wait. ``finished`` is called with
    each work that is done with. For the thread that owns the queues."""
    now = time.monotonic()
    handing_out.came_back(result.subject)
    count_outcomes(result.subject, result.outcomes)
    queues_of_works: dict[Queue, None] = {}
    left: defaultdict[Queue, list[Work]] = defaultdict(list)
    due: dict[Queue, float] = {}
    for work, outcome in zip(result.subject, result.outcomes, strict=True):  # this loop runs for every event
        queues_of_works[work.queue] = None
        if work.progress.ended:  # another process has the partition now
            continue
        if isinstance(outcome, _SUCCESSES):
            if isinstance(outcome, LetterWritten):
                tell_dead_lettered(work)
            finished(work)
        elif isinstance(outcome, NotBegun):
            left[work.queue].append(work)
        elif (delay := follow(work, outcome, now)) is None:
            finished(work)
        else:
            left[work.queue].append(work)
            due[work.queue] = now + delay
    for queue in reversed(queues_of_works):  # each that had no turn goes to the front of the others
        queues.give_back(queue, left.get(queue, ()), due.get(queue))
