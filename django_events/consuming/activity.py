"""What the consumer groups and broadcast handlers of a process do at this moment, for the table of processes."""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from django_events import registry
from django_events.consuming.broadcast import OfBroadcast
from django_events.consuming.broadcast_handler import BroadcastThread
from django_events.consuming.calls import Call
from django_events.consuming.group import GroupThread
from django_events.consuming.letter_reader import LetterReader
from django_events.consuming.letter_retrier import LetterRetrier
from django_events.consuming.pruning import Pruner
from django_events.following.reader import Reader
from django_events.kafka.record import Partition
from django_events.presence.activity import Activity, GroupActivity, Running, event_id, ranges

Other: TypeAlias = LetterReader | LetterRetrier | Pruner | OfBroadcast


def of_threads(groups: Sequence[GroupThread], others: Sequence[Other]) -> Activity:
    """What these threads do. Reads what is known; asks nobody."""
    broadcast = [thread.declared for thread in others if isinstance(thread, BroadcastThread)]
    with_workers = [*groups, *(each for each in others if isinstance(each, BroadcastThread | LetterRetrier))]
    running = [call for thread in with_workers if (call := thread.oldest_call)]
    troubles = [each.trouble for each in others if isinstance(each, LetterReader | LetterRetrier | Reader)]
    return Activity(
        groups=tuple(_of_group(thread) for thread in groups),
        broadcast=tuple(declared.name for declared in broadcast),
        oldest=_told(min(running, key=lambda call: call.began)) if running else None,
        troubles=(*(str(thread.error) for thread in groups if thread.error), *filter(None, troubles)),
        declared=registry.digests(thread.group for thread in groups),
    )


def _of_group(thread: GroupThread) -> GroupActivity:
    return GroupActivity(
        name=thread.group.name, state=_state(thread), partitions=_by_topic(thread.partitions), paused=thread.paused
    )


def _state(thread: GroupThread) -> str:
    if not thread.is_alive():
        return "ended"
    if thread.is_stuck:
        return "stuck"
    has_begun = thread.polled_at > float("-inf")
    return "hangs" if has_begun and not thread.has_polled_lately else "runs"


def _by_topic(partitions: Iterable[Partition]) -> dict[str, str]:
    found = defaultdict(list)
    for partition in partitions:
        found[partition.topic].append(partition.number)
    return {topic: ranges(found[topic]) for topic in sorted(found)}


def _told(call: Call) -> Running:
    return Running(
        handler=str(call.handler), event_id=event_id(call.events[0].id), seconds=time.monotonic() - call.began
    )
