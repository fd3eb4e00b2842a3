"""Waits until all partitions of some groups are assigned, and says what is missing if that takes too long."""

import time
from collections.abc import Callable, Sequence

from django_events.consuming.group import GroupThread
from django_events.exceptions import EventsError
from django_events.kafka import consumer_groups
from django_events.kafka.consumer_groups import Membership

LOOK = 0.05
"""Seconds between two looks at the groups' threads: they know first."""

ASKED_AGAIN = 0.5
"""Seconds between two questions to Kafka."""

ANSWER = 5.0
"""Seconds that Kafka has to tell who has which partitions."""


def wait(groups: Sequence[GroupThread], raise_errors: Callable[[], None], timeout: float) -> str:
    """Wait until each group has heard from Kafka what it has, or Kafka says that it is nothing, and each partition is
    some member's.

    Returns nothing then, and what is missing after ``timeout`` seconds. ``raise_errors`` is called again and again:
    what it raises ends the wait.
    """
    deadline = time.monotonic() + timeout
    ask_at = 0.0
    heard: list[bool] = []
    while True:
        raise_errors()
        now = time.monotonic()
        if heard != (heard := [thread.ready.is_set() for thread in groups]):
            ask_at = now
        is_late = now >= deadline
        if is_late or (now >= ask_at and all(thread.member_id for thread in groups)):
            missing = _unassigned(groups, deadline)
            if is_late or not missing:
                return missing
            ask_at = time.monotonic() + ASKED_AGAIN
        time.sleep(LOOK)


def _unassigned(groups: Sequence[GroupThread], deadline: float) -> str:
    """What Kafka says is missing, or why it does not say."""
    memberships = [
        Membership(
            group=thread.group.name,
            topics=thread.group.sources,
            member_id=thread.member_id,
            partitions=thread.partitions,
            has_heard=thread.ready.is_set(),
        )
        for thread in groups
    ]
    try:
        return "; ".join(consumer_groups.unassigned(memberships, min(max(deadline - time.monotonic(), 1.0), ANSWER)))
    except EventsError as error:
        return str(error)
