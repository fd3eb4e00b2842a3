"""What a process does at this moment, as its row tells it. However much that is, the row stays small."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from django_events.log_fields import in_one_line

MOST = 32_768
"""Bytes of JSON in one row: thousands of rows of a crash loop are still read in no time."""

MOST_TROUBLES = 20
"""Troubles that are told; each of held topics is one."""

LONGEST = 300
"""Characters of a text."""

ALL = "*"
"""Stands for the handlers of a group where their names would be too long."""

Declared = Mapping[str, Mapping[str, str]]
"""By group, its handlers, each with a digest of what it declares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A call of a handler that has not returned. Immutable."""

    handler: str
    """As ``group/name``."""
    event_id: str
    """Of the first event, if it is a list."""
    seconds: float
    """How long it has been running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupActivity:
    """What a process does for one consumer group. Immutable."""

    name: str
    state: str
    """``runs``, ``stuck`` (a handler does not return), ``hangs`` (Kafka is not asked any more), or ``ended``."""
    partitions: dict[str, str] = field(default_factory=dict)
    """By topic, those that it has, such as ``0-3, 7``."""
    paused: int = 0
    """Partitions of which nothing is fetched, because too much is in hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What a process does, or one part of it. Immutable."""

    groups: tuple[GroupActivity, ...] = ()
    broadcast: tuple[str, ...] = ()
    """Handlers of broadcast events that run."""
    sends: bool = False
    """Whether it sends what waits in the outbox: its own events, or with ``catchup`` those of all."""
    oldest: Running | None = None
    """The call that has been running for longest."""
    troubles: tuple[str, ...] = ()
    """What does not work and is tried again, as in the log."""
    declared: dict[str, dict[str, str]] = field(default_factory=dict)
    """The handlers that its code declares (``Declared``), whether they run in it or not."""
    is_cut: bool = False
    """Whether something was left out, because it was too much."""


def joined(activities: Iterable[Activity], declared: Declared) -> Activity:
    """What a process does whose parts do these; its code declares that."""
    parts = list(activities)
    known = {group: dict(handlers) for group, handlers in declared.items()}
    running = [part.oldest for part in parts if part.oldest]
    troubles = [text[:LONGEST] for part in parts for text in part.troubles]
    return Activity(
        groups=tuple(group for part in parts for group in part.groups),
        broadcast=tuple(name for part in parts for name in part.broadcast),
        sends=any(part.sends for part in parts),
        oldest=max(running, key=lambda call: call.seconds, default=None),
        troubles=tuple(troubles[:MOST_TROUBLES]),
        declared=known | {group: handlers for part in parts for group, handlers in part.declared.items()},
        is_cut=len(troubles) > MOST_TROUBLES,
    )


def encode(activity: Activity) -> dict[str, Any]:
    """The activity as JSON's types, in ``MOST`` bytes: what takes most room and says least goes first."""
    for smaller in (_whole, _without_handlers, _without_partitions, _bare):
        facts: dict[str, Any] = msgspec.to_builtins(smaller(activity))
        if len(msgspec.json.encode(facts)) <= MOST:
            return facts
    return {"is_cut": True}


def decode(facts: Any) -> Activity | None:
    """What ``encode`` has made, also in another version; None if this one does not understand it."""
    try:
        return msgspec.convert(facts, Activity)
    except msgspec.ValidationError:
        return None


def ranges(numbers: Iterable[int]) -> str:
    """Numbers as people write them, such as ``0-3, 7``."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return _cut(", ".join(str(first) if first == last else f"{first}-{last}" for first, last in found))


def event_id(text: str) -> str:
    """As much of an event's id as is told: whoever wrote the event chose it."""
    return _cut(in_one_line(text))


def shortened(handlers: Mapping[str, str]) -> dict[str, str]:
    """The handlers of a group, with their digests, as one."""
    return {ALL: digest(sorted(handlers.items()))}


def digest(declaration: object) -> str:
    """A short digest of something that has the same ``repr`` in every process."""
    return hashlib.blake2b(repr(declaration).encode(), digest_size=4).hexdigest()


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _whole(activity: Activity) -> Activity:
    return activity


def _without_handlers(activity: Activity) -> Activity:
    declared = {group: shortened(handlers) for group, handlers in activity.declared.items()}
    return replace(activity, declared=declared, broadcast=(), is_cut=True)


def _without_partitions(activity: Activity) -> Activity:
    groups = tuple(replace(group, partitions={}) for group in activity.groups)
    return replace(_without_handlers(activity), groups=groups)


def _bare(activity: Activity) -> Activity:
    return Activity(sends=activity.sends, oldest=activity.oldest, troubles=activity.troubles[:1], is_cut=True)
