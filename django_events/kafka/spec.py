"""The Kafka side of declared topics: partitions, replication, config, size limit.

``Topic()`` registers its spec here. What is not declared is never created.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

DEFAULT_LIMIT = 1_000_000
"""Bytes that one event may have: below the 1,048,588 bytes that Kafka brokers allow a batch by default."""

OVERHEAD = 512
"""Bytes added to key, body and headers in the size check, for what Kafka and the relay put around a record."""

HEADROOM = 65_536
"""Bytes by which a topic's own limit lies above the declared one, so that only ours is ever met."""


PARTITIONS = 2
"""Partitions of a new topic that declares no number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """What a topic shall be like in Kafka. Immutable."""

    name: str
    """Without prefix."""
    partitions: int | None = None
    """Number of partitions: the number of processes of one group that can share the topic. None for two, or as many
    as it has."""
    replication_factor: int | None = None
    """Number of copies; None for three, or as many as there are brokers if they are fewer, or as many as it has."""
    config: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Kafka's topic configuration, beside the defaults that ``kafka.topics`` fills in."""
    max_bytes: int = DEFAULT_LIMIT
    """The largest event (key, body, headers and ``OVERHEAD``), in bytes."""

    @property
    def is_compacted(self) -> bool:
        """Whether Kafka keeps only the last event of each key."""
        return is_compacting(self.config.get(CLEANUP_POLICY, ""))


CLEANUP_POLICY = "cleanup.policy"
MAX_MESSAGE_BYTES = "max.message.bytes"


def is_compacting(cleanup_policy: str) -> bool:
    """Whether this value of ``cleanup.policy`` has Kafka keep only the last event of each key."""
    return "compact" in [policy.strip() for policy in cleanup_policy.split(",")]


_declared: dict[str, TopicSpec] = {}


def declare(spec: TopicSpec) -> None:
    """Remember a topic's spec; the same name again replaces it."""
    _declared[spec.name] = spec


def declared(name: str) -> TopicSpec | None:
    """The spec of this topic, if this process declares it."""
    return _declared.get(name)


def smallest_limit() -> int:
    """The smallest size limit of all declared topics, in bytes."""
    return min((spec.max_bytes for spec in _declared.values()), default=DEFAULT_LIMIT)
