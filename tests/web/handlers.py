"""A broadcast handler that leaves a line for each event, and for each gap, in files of its process's own."""

import os
from pathlib import Path

from django_events import Event, Gap, broadcast
from tests.ledger.events import EntryMade, entry_made


def leave_gap(gap: Gap) -> None:
    _leave(f"{os.getpid()}-gaps", f"{gap.start} to {gap.end}")


@broadcast(entry_made, on_gap=leave_gap)
def leave_line(event: Event[EntryMade]) -> None:
    _leave(str(os.getpid()), str(event.payload.number))


def _leave(name: str, line: str) -> None:
    with (Path(os.environ["LINES"]) / name).open("a") as file:
        file.write(f"{line}\n")
