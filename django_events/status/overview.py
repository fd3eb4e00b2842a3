"""How the whole is at one moment, as a value: the command and the page only render it.

It has counts, names, ages and error types, and nothing that an event carries.
"""

from dataclasses import dataclass
from datetime import datetime

from django_events.models import SILENT
from django_events.presence.activity import Activity


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicBacklog:
    """What one topic has in the outbox of one database. Immutable."""

    database: str
    topic: str
    waiting: int
    """Rows that wait to be sent; counted up to ``models.COUNTED``, as all numbers of rows here."""
    oldest: float | None
    """Seconds since the oldest of them was written; None if there is none."""
    set_aside: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """Something that could not be asked. Immutable."""

    what: str
    """A database's alias, or the brokers."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLine:
    """One consumer group, as Kafka knows it. Immutable."""

    name: str
    state: str
    """As in ``kafka.consumer_groups.GroupState``."""
    members: int
    lag: int
    oldest: float | None
    """Seconds since the oldest event that is not handled was written; None if there is none, or it has no time."""
    missing_topics: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureLine:
    """One way in which a handler fails. Immutable."""

    pk: int
    open_letters: int
    group: str
    handler: str
    topic: str
    exception: str
    message: str
    """The newest such error's text; empty where REDACT hides something: it may quote that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letters:
    """The dead letters by what becomes of them. Immutable."""

    waiting: int = 0
    asked_for: int = 0
    """Those of them that wait until somebody says so."""
    running: int = 0
    oldest: float | None = None
    """Seconds since the first failure of the oldest open one; None if there is none."""
    resolved: int = 0
    discarded: int = 0
    """Both among the newest of all only, up to ``models.COUNTED``."""

    @property
    def open(self) -> int:
        return self.waiting + self.running


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessLine:
    """One process, as it was when it said something last. Immutable."""

    kind: str
    """One of ``models.Kind``, or of a newer version's."""
    host: str
    pid: int
    version: str
    age: float
    """Seconds since it began."""
    silent_for: float
    """Seconds since it said something."""
    activity: Activity | None
    """None if it is of a version that tells it differently."""

    @property
    def name(self) -> str:
        return f"{self.kind} {self.host}:{self.pid}"

    @property
    def is_silent(self) -> bool:
        """Whether it should have said something by now: it was killed, it stands still, or the database is slow."""
        return self.silent_for > SILENT.total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Some processes declare other handlers of a group than this one does, or than the youngest one. Immutable."""

    group: str
    processes: tuple[str, ...]
    """Their names."""
    changed: tuple[str, ...]
    """Handlers that are declared differently."""
    lacking: tuple[str, ...]
    """Handlers that they do not have."""
    additional: tuple[str, ...]
    """Handlers that only they have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All of it. Immutable."""

    at: datetime
    brokers: str
    kafka: Unreadable | None
    """Why Kafka does not answer; None if it does."""
    databases: tuple[Unreadable, ...]
    """Databases whose outbox could not be read."""
    outbox: tuple[TopicBacklog, ...]
    groups: tuple[GroupLine, ...]
    """Those that are declared here; none if Kafka does not tell."""
    unknown_groups: Unreadable | None
    """Why Kafka, which answers, does not tell of the groups; None if it does."""
    failures: tuple[FailureLine, ...]
    """Those with open dead letters, the most first."""
    letters: Letters | None
    """None if they could not be read."""
    unknown_letters: Unreadable | None
    """Why not; None if they could."""
    processes: tuple[ProcessLine, ...]
    unknown_processes: Unreadable | None
    """Why it is not known which processes run; None if it is."""
    differences: tuple[Difference, ...]

    @property
    def alive(self) -> tuple[ProcessLine, ...]:
        return tuple(process for process in self.processes if not process.is_silent)

    @property
    def oldest_waiting(self) -> float:
        """Seconds since the oldest event was written that waits to be sent; 0 if none waits."""
        return max((line.oldest or 0.0 for line in self.outbox), default=0.0)
