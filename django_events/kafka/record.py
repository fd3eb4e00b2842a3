"""What Kafka carries: a key, a body and headers, as bytes. Nothing that knows events or librdkafka."""

from typing import NamedTuple, Protocol

Headers = list[tuple[str, bytes | None]]
"""Names may repeat, and their order is kept. A value may be missing (None), which is not an empty one."""


class Outgoing(Protocol):
    """What Kafka is to get: a Record, or what has its parts when it is asked for them."""

    @property
    def topic(self) -> str: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers:
        """Raises ValueError if they cannot be read."""


class Record(NamedTuple):
    """A record on its way to Kafka. ``topic`` is without prefix."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


class Partition(NamedTuple):
    """One partition of one topic; progress is kept by it. ``topic`` is without prefix."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.number}]"


class ReceivedRecord(NamedTuple):
    """A record that came from Kafka. ``partition.topic`` is without prefix."""

    partition: Partition
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int | None
    """Milliseconds since 1970 (UTC), as the broker or the sender set it; None if the record has none."""
    unreadable: str | None = None
    """Why the client could not read the headers, if so; ``headers`` is then empty."""

    @property
    def topic(self) -> str:
        return self.partition.topic

    def age(self, now: float) -> float | None:
        """Seconds since it was written, below 0 if clocks differ; ``now`` is in seconds since 1970."""
        return None if self.timestamp is None else now - self.timestamp / 1000

    def __str__(self) -> str:
        return f"{self.partition}@{self.offset}"
