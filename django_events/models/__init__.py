"""The tables, and all SQL."""

from django_events.models.dead_letters import (
    ALREADY,
    IS_OPEN,
    Answer,
    DeadLetter,
    DeadLetterAttempt,
    Letter,
    State,
    Tried,
)
from django_events.models.failures import Failure, FailureKind
from django_events.models.outbox import (
    COUNTED,
    IS_SET_ASIDE,
    LANES_PER_TOPIC,
    Backlog,
    Cut,
    Lane,
    LaneName,
    OutgoingEvent,
    SavedRow,
    WaitingRow,
    lane_of,
)
from django_events.models.processed import Mark, ProcessedEvent
from django_events.models.pruning import count_old, prune

__all__ = [
    "ALREADY",
    "COUNTED",
    "IS_OPEN",
    "IS_SET_ASIDE",
    "LANES_PER_TOPIC",
    "Answer",
    "Backlog",
    "Cut",
    "DeadLetter",
    "DeadLetterAttempt",
    "Failure",
    "FailureKind",
    "Lane",
    "LaneName",
    "Letter",
    "Mark",
    "OutgoingEvent",
    "ProcessedEvent",
    "SavedRow",
    "State",
    "Tried",
    "WaitingRow",
    "count_old",
    "lane_of",
    "prune",
]
