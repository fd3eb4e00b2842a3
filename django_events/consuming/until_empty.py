"""The thread that finds out when groups have handled what their topics had when it began."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing

from django_events import tables
from django_events.exceptions import BrokerUnavailable, KafkaRefused
from django_events.handlers import ConsumerGroup
from django_events.kafka import names
from django_events.kafka.remaining import Left, Remaining

logger = logging.getLogger("django_events.group")

LOOK = 0.5
"""Seconds between two looks at Kafka."""

SAID_AFTER, SAID_AGAIN_AFTER = 10.0, 60.0
"""Seconds without progress after which it is said what is waited for, and said again."""


class UntilEmpty(threading.Thread):
    """Looks at committed offsets, so it does not matter which member of a group handles what.

    First the groups must have handled their topics, then their dead letters must be in the table. Ends when that is so,
    or by ``stop``.
    """

    def __init__(
        self, groups: Sequence[ConsumerGroup], is_prepared: Callable[[], bool], say: Callable[[str], None]
    ) -> None:
        """``is_prepared``: whether missing topics have been created, as far as they can be. ``say`` gets a line when
        there is something that a person should know, in this thread."""
        super().__init__(name="django-events-until-empty", daemon=True)
        self.error: BaseException | None = None
        self._groups = groups
        self._is_prepared = is_prepared
        self._say = say
        self._stopping = threading.Event()
        self._is_empty = False

    @property
    def is_empty(self) -> bool:
        """Whether all is handled. Raises what has ended this thread."""
        if self.error:
            raise self.error
        return self._is_empty

    def stop(self) -> None:
        """Thread-safe, idempotent; returns at once."""
        self._stopping.set()

    def run(self) -> None:
        try:
            while not self._is_prepared() and not self._stopping.wait(0.1):
                pass
            self._wait_for({group.name: group.sources for group in self._groups})
            if not self._stopping.is_set():
                self._wait_for(dict(_letters(self._groups)))
            self._is_empty = not self._stopping.is_set()
        except BaseException as error:
            logger.exception("The look for the ends of topics has failed")
            self.error = error

    def _wait_for(self, topics: Mapping[str, Sequence[str]]) -> None:
        """Wait until each of these groups has reached the ends of its topics, or this thread is to stop."""
        with ExitStack() as stack:
            waits = Waits(self._say)
            begun: dict[str, Remaining] = {}
            waiting = list(topics)

            def remaining(name: str) -> Remaining:
                if name not in begun:
                    begun[name] = stack.enter_context(closing(Remaining(name, topics[name])))
                return begun[name]

            while waiting and not self._stopping.is_set():
                waiting = [name for name in waiting if not self._has_reached_its_end(name, remaining, waits)]
                if waiting:
                    self._stopping.wait(LOOK)

    def _has_reached_its_end(self, name: str, find: Callable[[str], Remaining], waits: "Waits") -> bool:
        try:
            remaining = find(name)  # needs a password, for example, which the site's function may not give yet
            left = remaining.look()
        except (BrokerUnavailable, KafkaRefused) as error:
            waits.note(name, str(error))
            return False
        if left:
            waits.note(name, f"the end is not reached of {_list(left)}")
            return False
        for topic in remaining.missing:
            self._say(f"{name}: Kafka has no topic {topic}, so there is nothing to handle in it")
        return True


class Waits:
    """Says what is waited for when that has been the same for a while."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._what: dict[str, str] = {}
        self._due: dict[str, float] = {}

    def note(self, name: str, what: str) -> None:
        """This is what the group is waited for."""
        now = time.monotonic()
        if self._what.get(name) != what:
            self._what[name] = what
            self._due[name] = now + SAID_AFTER
        elif now >= self._due[name]:
            self._due[name] = now + SAID_AGAIN_AFTER
            self._say(f"{name}: still waiting: {what}")


def _letters(groups: Sequence[ConsumerGroup]) -> Iterator[tuple[str, Sequence[str]]]:
    """By the group that reads them, the topics of the dead letters that are to be brought into the table; without
    tables none are."""
    for group in () if tables.there_are_none() else groups:
        if sources := [names.dead_letter_topic(topic, group.name) for topic in group.dead_letter_sources]:
            yield names.dead_letter_group(group.name), sources


def _list(left: Sequence[Left]) -> str:
    shown = ", ".join(str(each) for each in left[:5])
    return f"{shown} and {len(left) - 5} more" if len(left) > 5 else shown
