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
from django_events.models.processes import SILENT, Beat, Kind, Process
from django_events.models.pruning import count_old, prune

__all__ = [
    "ALREADY",
    "COUNTED",
    "IS_OPEN",
    "IS_SET_ASIDE",
    "LANES_PER_TOPIC",
    "SILENT",
    "Answer",
    "Backlog",
    "Beat",
    "Cut",
    "DeadLetter",
    "DeadLetterAttempt",
    "Failure",
    "FailureKind",
    "Kind",
    "Lane",
    "LaneName",
    "Letter",
    "Mark",
    "OutgoingEvent",
    "Process",
    "ProcessedEvent",
    "SavedRow",
    "State",
    "Tried",
    "WaitingRow",
    "count_old",
    "lane_of",
    "prune",
]
