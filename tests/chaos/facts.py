"""What a history consists of: what each process, Kafka and the database knew, and when. One class a kind of fact."""

import os
import time
from collections import defaultdict
from collections.abc import Iterable

import msgspec

ACTOR = "CHAOS_ACTOR"
"""The environment variable with the name of the actor that a process is."""

Place = tuple[str, int, int]
"""Topic, partition and offset of a record."""


class Fact(msgspec.Struct, frozen=True, kw_only=True, tag_field="fact", tag=True, omit_defaults=True):
    """Who knew it, in which process, and when (seconds since 1970)."""

    at: float = msgspec.field(default_factory=time.time)
    actor: str = msgspec.field(default_factory=lambda: os.environ.get(ACTOR, "runner"))
    process: int = msgspec.field(default_factory=os.getpid)


# ── the run ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Declared(Fact, frozen=True):
    """A handler of the site, as its group declares it."""

    handler: str
    """``group/name``, as everywhere in a history."""
    topics: tuple[str, ...]
    exactly_once: bool


class Phase(Fact, frozen=True):
    """The run enters a phase; it ends where the next begins."""

    name: str


class Began(Fact, frozen=True):
    """A process of the actor was started."""


class Ended(Fact, frozen=True):
    """A process of the actor ended."""

    code: int
    wanted: bool
    """Whether the run has killed or stopped it."""
    too_late: bool = False
    """Whether it has said that its stop took too long, as when a client of Kafka hangs: then it ends with code 1."""


class Fault(Fact, frozen=True):
    """Something was broken from ``at`` until ``until``."""

    kind: str
    hits: tuple[str, ...]
    """Actors, or ``KAFKA`` or ``DATABASE``: then all that use it; of an ``ABSENT`` one its topic."""
    until: float
    about: str = ""


KAFKA, DATABASE = "kafka", "database"

ABSENT = "absent"
"""The kind of the fault that Kafka lacks a topic for which there are events."""

FALTERING = "faltering"
"""The kind of what nobody has done on purpose: a server could not do the plainest for a while."""

STANDSTILL = "standstill"
"""The kind of what a process notes of itself: that it stood still, by itself, with the whole machine, or because it was
frozen on purpose. Then there is that fault, too."""

NOTICED = (FALTERING, STANDSTILL)
"""The kinds of what is noted by who notices it, not by who has broken something."""

REFUSE = "refuse"
"""The kind of the fault that Kafka refuses large batches of a topic."""

DIVIDE = "divide"
"""The kind of the fault that one node of Kafka is cut off from the others."""


class Settled(Fact, frozen=True):
    """After the last fault the outbox became empty and every group's lag zero."""

    seconds: float


class Unsettled(Fact, frozen=True):
    """After the last fault something stayed, for longer than it may."""

    left: str


# ── sending ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Intent(Fact, frozen=True):
    """An event was written in a transaction that is not committed yet."""

    event: str
    topic: str
    key: str | None
    body: str
    headers: tuple[tuple[str, str | None], ...]
    """All headers that the record shall have, but for the one that its place in the outbox decides."""
    transaction: str
    number: int | None = None
    """Its place among the events of its key, drawn while the aggregate was locked."""


class Dropped(Fact, frozen=True):
    """The savepoint in which an event was written was rolled back."""

    event: str


class Committed(Fact, frozen=True):
    """The commit of a transaction has returned."""

    transaction: str


class Aborted(Fact, frozen=True):
    """A transaction was rolled back."""

    transaction: str


class Saved(Fact, frozen=True):
    """The database has, at the end, what was written together with the event: its transaction was committed."""

    event: str


class SetAside(Fact, frozen=True):
    """Kafka refuses the event for itself; after the last fault it is sent again, whatever of its key came meanwhile."""

    event: str


class Sending(Fact, frozen=True):
    """These events are about to be given to Kafka."""

    events: tuple[str, ...]
    thread: str = ""
    """Which of the process's threads does it: of a catch-up there may be two, each with rounds of its own."""


class Acknowledged(Fact, frozen=True):
    """Kafka has told the process that it has these events; their rows are still there."""

    events: tuple[str, ...]


class Sent(Fact, frozen=True):
    """Kafka has acknowledged the event, and the transaction that deletes its row is committed."""

    event: str
    thread: str = ""
    """Which of the process's threads did it."""


class Delivered(Fact, frozen=True):
    """Kafka has this record, since ``at``."""

    event: str
    place: Place
    key: str | None
    body: str
    headers: tuple[tuple[str, str | None], ...]
    """Without the one that its place in the outbox decides."""


# ── handling ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Handling(Fact, frozen=True):
    """A handler was called."""

    handler: str
    event: str
    place: Place
    key: str | None = None
    body: str | None = None
    """As the handler was given them; None where that is not known."""


class Raised(Fact, frozen=True):
    """A handler is about to fail, as it now and then does on purpose."""

    handler: str
    event: str
    place: Place


class Handled(Fact, frozen=True):
    """A handler has taken effect: its transaction, if it has one, is committed."""

    handler: str
    event: str
    place: Place


class Effect(Fact, frozen=True):
    """The database has, at the end, what the handler did for the event; ``at`` is when it did it."""

    handler: str
    event: str


class OffsetsCommitted(Fact, frozen=True):
    """A process is about to commit offsets of a group: each the next to read."""

    group: str
    offsets: tuple[Place, ...]


class Buried(Fact, frozen=True):
    """Kafka has a dead letter, since ``at``."""

    handler: str
    event: str
    place: Place
    """Of the event's own record."""
    key: str | None
    body: str
    headers: tuple[tuple[str, str | None], ...]
    """Of the event; those that describe the failure are left out."""


class Kept(Fact, frozen=True):
    """The database has, at the end, a dead letter in this state."""

    handler: str
    event: str
    state: str


AnyFact = (
    Declared
    | Phase
    | Began
    | Ended
    | Fault
    | Settled
    | Unsettled
    | Intent
    | Dropped
    | Committed
    | Aborted
    | Saved
    | Sending
    | Acknowledged
    | Sent
    | SetAside
    | Delivered
    | Handling
    | Raised
    | Handled
    | Effect
    | OffsetsCommitted
    | Buried
    | Kept
)


def topics_by_group(facts: Iterable[Fact]) -> dict[str, set[str]]:
    """The topics that the handlers of each group want, as far as they are declared in these facts."""
    found: dict[str, set[str]] = defaultdict(set)
    for fact in facts:
        if isinstance(fact, Declared):
            found[fact.handler.partition("/")[0]].update(fact.topics)
    return dict(found)
