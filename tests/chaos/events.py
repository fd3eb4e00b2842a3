"""The events of the chaotic site."""

from dataclasses import dataclass

from django_events import Topic
from tests.chaos.scenario import LATE, PARTITIONS
from tests.services.cluster import NODES


@dataclass(frozen=True)
class Moved:
    """Something happened to an account."""

    account: str
    number: int | None
    """Which event of the account it is; None if the account was not locked."""
    text: str = ""


@dataclass(frozen=True)
class Followed:
    """A handler has dealt with a movement."""

    movement: str


moved = Topic("moved", Moved, partitions=PARTITIONS)
followed = Topic("followed", Followed, partitions=PARTITIONS)
late = Topic(LATE, Moved, partitions=PARTITIONS, replication_factor=len(NODES) + 1)
"""Of more copies than there are nodes: so Kafka refuses to make it when a process of the site asks."""
