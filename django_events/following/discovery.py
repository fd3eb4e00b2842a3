"""Asks Kafka which of the wanted topics and partitions there are now, and what is to be read otherwise than before."""

import logging
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import NamedTuple, TypeAlias

from django_events.exceptions import KafkaRefused
from django_events.following.change import Change, Place
from django_events.kafka import topics
from django_events.kafka.following import Follower, TopicInKafka
from django_events.kafka.record import Partition

logger = logging.getLogger("django_events.broadcast")

CREATED = 5.0
"""Seconds that Kafka has to create topics that nobody has seen yet."""

SHOWN, SHOWN_AGAIN = 2.0, 0.05
"""Seconds for which Kafka is asked again about a topic that may only have been made, and between two of these looks: it
takes a moment until every broker knows it, and would else be read from the next look on."""

Found: TypeAlias = Mapping[str, TopicInKafka | KafkaRefused]
"""Topics as they are now, or why Kafka does not let us read them. One that it does not have is missing."""
Ends: TypeAlias = Mapping[Partition, tuple[int, int]]
"""The offset of each partition's oldest record, and the one after the newest."""


class Discovery(NamedTuple):
    """What a look has brought."""

    since: float
    """The moment (time.monotonic) before it: of what is read from now on, nothing is missed that was sent later."""
    found: Found
    change: Change
    """With all offsets."""


def discover(follower: Follower, wanted: Collection[str], place: Place, lost: Collection[Partition]) -> Discovery:
    """Look once, for a reader that is at this place and of whose partitions the ``lost`` ones had no next record.

    Creates declared topics that were never seen. Blocks for some seconds at most. Raises BrokerUnavailable, and
    ConsumerFailed for a client that hangs.
    """
    unknown = {*wanted} - place.ids.keys() - place.hidden
    there = topics.create_missing(unknown, timeout=CREATED) if unknown else frozenset()
    since = time.monotonic()
    found, ends = _shown(follower, wanted, place, lost, there)
    change = _change(wanted, place, lost, found)
    if change.changes_anything:
        change.find_offsets(ends)
    return Discovery(since, found, change)


def _shown(
    follower: Follower, wanted: Collection[str], place: Place, lost: Collection[Partition], there: Collection[str]
) -> tuple[Found, Ends]:
    """The topics as Kafka shows them, and the ends that the change needs. One of which it does not tell the ends, as
    where a partition has no leader, is one that it does not let us read: the others do not wait for it. For a moment
    all of this may be so because a topic is new: it is ``there`` and not shown, or has no leaders yet."""
    until = time.monotonic() + SHOWN
    while True:
        found = follower.look(wanted)
        ends, refused = _ends(follower, _change(wanted, place, lost, found).unknown)
        news = ({*there} - found.keys()) | (refused.keys() - place.hidden)
        if not news or time.monotonic() >= until:
            break
        time.sleep(SHOWN_AGAIN)
    for topic in sorted(refused.keys() - place.hidden):
        logger.warning("The reader of broadcast events does without topic %s for now: %s", topic, refused[topic])
    return {**found, **refused}, ends


def _change(wanted: Collection[str], place: Place, lost: Collection[Partition], found: Found) -> Change:
    change = Change(place, lost)
    for topic in sorted(wanted):
        change.look_at(topic, found.get(topic))
    change.forget_all_but(wanted)
    return change


def _ends(follower: Follower, partitions: Collection[Partition]) -> tuple[Ends, dict[str, KafkaRefused]]:
    """The ends of the partitions, and the topics of which Kafka does not tell them, and why."""
    with suppress(KafkaRefused):
        return follower.ends(partitions), {}
    ends: dict[Partition, tuple[int, int]] = {}
    refused: dict[str, KafkaRefused] = {}
    for topic in sorted({each.topic for each in partitions}):
        try:
            ends |= follower.ends([each for each in partitions if each.topic == topic])
        except KafkaRefused as error:
            refused[topic] = error
    return ends, refused
