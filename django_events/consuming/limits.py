"""How much one group takes on in one process."""

from dataclasses import dataclass

from django_events.handlers import ConsumerGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is not said here, the group's declaration says. Immutable."""

    workers: int | None = None
    """Threads that run handlers, each with a database connection of its own."""
    in_hand_of_partition: int | None = None
    """Records of one partition that the committed offset has not passed; above, the partition is paused."""
    active: int | None = None
    """Works of the whole group that do not wait for a retry; above, all partitions are paused."""
    commit_interval: float = 1.0
    """Seconds between two commits of offsets: what a crash makes come again."""
    drain: float = 20.0
    """Seconds that a rebalance waits for handlers that run; far below max.poll.interval.ms (300 s)."""

    def workers_of(self, group: ConsumerGroup) -> int:
        return self.workers or group.workers

    def in_hand_of(self, group: ConsumerGroup) -> int:
        return self.in_hand_of_partition or group.max_outstanding

    def active_of(self, group: ConsumerGroup) -> int:
        return self.active or group.max_outstanding_in_all
