"""Starts and stops the consumer groups of a process."""

import logging
import time
from collections.abc import Callable, Sequence

from django_events.consuming.group import GroupThread
from django_events.consuming.letter_reader import LetterReader
from django_events.consuming.letter_retrier import LetterRetrier
from django_events.consuming.limits import Limits
from django_events.consuming.pruning import Pruner, exactly_once_topics
from django_events.exceptions import DeclarationError
from django_events.handlers import ConsumerGroup

logger = logging.getLogger("django_events.group")

LONGEST_ROUND = 30.0
"""Seconds after which a group that has not polled is taken to be stuck; a rebalance may drain for 20 s in between."""

CLOSING = 10.0
"""Seconds beyond the shutdown time-out that Kafka has for commits and for leaving the groups."""


def _check(groups: Sequence[ConsumerGroup]) -> None:
    for group in groups:
        for handler, text in group.contradictions:
            raise DeclarationError(f"Handler {handler} contradicts itself: {text}.")


def _log(line: str) -> None:
    logger.info("%s", line)


class Service:
    """Some consumer groups, each with threads of its own. ``start`` and ``stop`` it from one thread."""

    def __init__(
        self,
        groups: Sequence[ConsumerGroup],
        *,
        limits: Limits | None = None,
        on_change: Callable[[str], None] = _log,
    ) -> None:
        """``on_change`` gets a line for each change of an assignment, in the group's thread.

        Raises DeclarationError for handlers whose options contradict each other.
        """
        _check(groups)
        self._groups = [GroupThread(group, limits or Limits(), on_change) for group in groups]
        keepers = [thread for thread in self._groups if thread.group.dead_letter_sources]
        self._readers = [LetterReader(thread.group, thread.prepared) for thread in keepers]
        # Of every group: a handler that makes no letters any more may still have some.
        self._retriers = [LetterRetrier(thread.group) for thread in self._groups]
        prepared = [thread.prepared for thread in self._groups]
        self._pruners = [Pruner(groups, prepared, on_change)] if exactly_once_topics(groups) else []

    @property
    def _threads(self) -> list[GroupThread | LetterReader | LetterRetrier | Pruner]:
        return [*self._groups, *self._readers, *self._retriers, *self._pruners]

    def start(self) -> None:
        """Start all groups; returns at once."""
        for thread in self._threads:
            thread.start()

    def wait_until_assigned(self, timeout: float) -> bool:
        """Wait until each group has heard from Kafka which partitions it has; False if that takes too long."""
        deadline = time.monotonic() + timeout
        return all(group.ready.wait(max(deadline - time.monotonic(), 0)) for group in self._groups)

    @property
    def is_prepared(self) -> bool:
        """Whether each group has looked for its topics, and created them where it can. Thread-safe."""
        return all(group.prepared.is_set() for group in self._groups)

    @property
    def records_done(self) -> int:
        """Records that all handlers are done with since the start. Thread-safe."""
        return sum(group.records_done for group in self._groups)

    @property
    def is_healthy(self) -> bool:
        """Whether each group has polled lately, none of its handlers is stuck, and every other thread is there.
        Thread-safe."""
        polled_since = time.monotonic() - LONGEST_ROUND
        if not all(thread.is_alive() for thread in self._threads):
            return False
        return all(group.polled_at > polled_since and not group.is_stuck for group in self._groups)

    def wait(self, timeout: float) -> bool:
        """Wait until a thread has ended, at most ``timeout`` seconds; returns whether one has. Raises its error."""
        deadline = time.monotonic() + timeout
        threads = self._threads
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0) / len(threads))
        ended = [thread for thread in threads if not thread.is_alive()]
        for thread in ended:
            if thread.error:
                raise thread.error
        return bool(ended)

    def stop(self, timeout: float) -> bool:
        """Stop all groups; running handlers have ``timeout`` seconds. Returns whether all ended
        and no handler was left running; if not, end the process, for nobody can end a thread.

        The order in each group: take no more work, let handlers finish, commit, leave the group, end the workers.
        """
        for thread in self._threads:
            thread.stop(timeout)
        deadline = time.monotonic() + timeout + CLOSING
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(deadline - time.monotonic(), 0))
        return not any(thread.is_alive() or thread.left_running for thread in self._threads)
