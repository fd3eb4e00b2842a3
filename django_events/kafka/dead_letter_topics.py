"""The topics of dead letters: made after the topics that the events come from, and never made to forget.

Blocking; every wait is bounded. Thread-safe: each call uses a client of its own.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from confluent_kafka.admin import AdminClient, TopicMetadata

from django_events.conf import settings
from django_events.kafka import names, spec, topics

BROKERS_LIMIT = 1_048_588
"""Bytes: Kafka's default for ``max.message.bytes``, where the topic's own cannot be asked for."""

CHECK_WAIT = 1.0
"""Seconds that Kafka has to tell the configurations of topics that exist: only a warning hangs on it."""

KEPT = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
"""Letters stay until somebody deletes their topic: compaction or retention would lose what is not repaired."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A dead-letter topic that cannot be written as it should."""

    topic: str
    text: str
    """What is wrong and what to do, as a sentence."""


def ensure(group: str, sources: Collection[str], timeout: float) -> list[Problem]:
    """Create the topics for the dead letters of this group where they are missing; return what is wrong afterwards.

    Each has as many partitions and copies as the topic that its events come from. ``sources`` are topics that exist;
    one that was created just now, by whomever, is waited for, because a broker may not know it yet. Idempotent. Raises
    BrokerUnavailable if Kafka does not answer within ``timeout`` seconds.
    """
    client, last_error = topics.client()
    cluster = topics.metadata_with(sources, client, last_error, timeout)
    found = cluster.topics
    there = [topic for topic in sorted(sources) if names.on_wire(topic) in found]
    missing = [topic for topic in there if _wire_name(topic, group) not in found]
    if missing and settings.AUTO_CREATE_TOPICS:
        wanted = [wanted_spec(topic, group, found[names.on_wire(topic)], client, timeout) for topic in missing]
        created = topics.create(client, wanted, len(cluster.brokers), timeout)
        missing = [topic for topic in missing if names.dead_letter_topic(topic, group) not in created]
    return [
        *_missing(missing, group),
        *_forgetful([each for each in there if each not in missing], group, client, timeout),
    ]


def wanted_spec(topic: str, group: str, source: TopicMetadata, client: AdminClient, timeout: float) -> spec.TopicSpec:
    """What the topic for dead letters of events of ``topic``, which is there, shall be like."""
    limit = _limit(topic, client, timeout)
    copies = max((len(partition.replicas) for partition in source.partitions.values()), default=1)
    return spec.TopicSpec(
        name=names.dead_letter_topic(topic, group),
        partitions=max(len(source.partitions), 1),
        replication_factor=max(copies, 1),
        config=KEPT | {spec.MAX_MESSAGE_BYTES: str(limit + spec.HEADROOM)},
    )


def _wire_name(topic: str, group: str) -> str:
    return names.on_wire(names.dead_letter_topic(topic, group))


def _limit(topic: str, client: AdminClient, timeout: float) -> int:
    """The largest record of a topic in bytes, as Kafka says, or as we know it if we may not ask."""
    declared = spec.declared(topic)
    known = max(declared.max_bytes + spec.HEADROOM if declared else 0, BROKERS_LIMIT)
    return int(topics.configs([topic], client, timeout).get(topic, {}).get(spec.MAX_MESSAGE_BYTES, known))


def _missing(sources: Collection[str], group: str) -> Iterator[Problem]:
    for topic in sources:
        name = names.dead_letter_topic(topic, group)
        yield Problem(
            name,
            f"The topic {names.on_wire(name)!r} is missing and could not be created, so an event of {topic!r} that "
            f"fails in group {group!r} will hold its partition. Create it with as many partitions as "
            f"{names.on_wire(topic)!r} and retention.ms=-1, or allow AUTO_CREATE_TOPICS.",
        )


def _forgetful(sources: Collection[str], group: str, client: AdminClient, timeout: float) -> Iterator[Problem]:
    configs = topics.configs([names.dead_letter_topic(topic, group) for topic in sources], client, timeout)
    for name, config in configs.items():
        for option, wanted in KEPT.items():
            if config.get(option, wanted) != wanted:
                yield Problem(
                    name,
                    f"The topic {names.on_wire(name)!r} has {option}={config[option]}, so Kafka may forget dead "
                    f"letters. Set {option}={wanted}.",
                )
