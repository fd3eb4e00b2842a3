"""Names of topics and groups: which are legal, and how the prefix is put in front on the wire.

Everywhere outside of ``kafka/`` a name is without prefix.
"""

import re

from django_events.conf import settings
from django_events.exceptions import DeclarationError
from django_events.kafka.record import Partition

LONGEST_TOPIC = 249
"""Characters, with the prefix: Kafka's own limit (a topic's name is a directory's name)."""

LONGEST_GROUP = 55
"""Characters, without the prefix: the limit of other services that share the names of dead-letter topics."""

DEAD_LETTER_TOPIC_ENDING = ".dead-letter"
DEAD_LETTER_GROUP_ENDING = "-dead-letter"

HEARTBEAT_TOPIC = "event-library.heartbeat.broadcast.v1"
"""For the heartbeats of readers of broadcast events; the Go library's processes use it, too."""

_LEGAL = re.compile(r"[A-Za-z0-9._-]+")


def check_topic(name: object) -> str:
    """Return the name if a topic may have it; raise DeclarationError with the reason if not."""
    text = _check_characters("topic", name)
    if len(text) > LONGEST_TOPIC:
        raise DeclarationError(
            f"The topic name {text[:30]!r}… has {len(text)} characters; Kafka allows {LONGEST_TOPIC}. Shorten it."
        )
    if text.endswith(DEAD_LETTER_TOPIC_ENDING):
        raise DeclarationError(
            f"The topic name {text!r} ends with {DEAD_LETTER_TOPIC_ENDING!r}, which is kept for dead letters. "
            "Choose another ending."
        )
    return text


def check_group(name: object) -> str:
    """Return the name if a consumer group may have it; raise DeclarationError with the reason if not."""
    text = _check_characters("consumer group", name)
    if len(text) > LONGEST_GROUP:
        raise DeclarationError(
            f"The consumer group name {text[:30]!r}… has {len(text)} characters; {LONGEST_GROUP} are allowed, "
            "because it becomes part of the names of dead-letter topics. Shorten it."
        )
    if text.endswith(DEAD_LETTER_GROUP_ENDING):
        raise DeclarationError(
            f"The consumer group name {text!r} ends with {DEAD_LETTER_GROUP_ENDING!r}, which is kept for the "
            "readers of dead letters. Choose another ending."
        )
    return text


def dead_letter_topic(topic: str, group: str) -> str:
    """The topic for the dead letters of one group's handlers of one topic."""
    return f"{topic}.{group}{DEAD_LETTER_TOPIC_ENDING}"


def dead_letter_group(group: str) -> str:
    """The consumer group that reads the dead letters of one group."""
    return f"{group}{DEAD_LETTER_GROUP_ENDING}"


def check_prefix(prefix: str) -> str:
    """Return the prefix if names may begin with it; raise DeclarationError with the reason if not."""
    if prefix and not _LEGAL.fullmatch(prefix):
        raise DeclarationError(
            f"{prefix!r} is not legal in Kafka. Use letters without accents, digits, '.', '_' and '-'."
        )
    return prefix


def on_wire(name: str) -> str:
    """The name in Kafka of this topic or group."""
    return settings.PREFIX + name


def off_wire(wire_name: str) -> str:
    """The name here of a topic that Kafka calls ``wire_name``; the opposite of ``on_wire``."""
    return wire_name.removeprefix(settings.PREFIX)


class Partitions(dict[tuple[str, int], Partition]):
    """Partitions by topic in Kafka and number: ``off_wire`` for whoever asks for each record. The setting is read once
    for each partition. Not thread-safe."""

    def __missing__(self, in_kafka: tuple[str, int]) -> Partition:
        wire_name, number = in_kafka
        partition = self[in_kafka] = Partition(off_wire(wire_name), number)
        return partition


def _check_characters(kind: str, name: object) -> str:
    if not isinstance(name, str):
        raise DeclarationError(f"The {kind} name must be a text, not {name!r}.")
    if name in (".", "..") or not _LEGAL.fullmatch(name):
        raise DeclarationError(
            f"The {kind} name {name!r} is not legal in Kafka. Use letters without accents, digits, "
            "'.', '_' and '-', at least one of them."
        )
    return name
