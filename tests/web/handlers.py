"""A broadcast handler that leaves a line for each event, in a file of its process's own."""

import os
from pathlib import Path

from django_events import Event, broadcast
from tests.ledger.events import EntryMade, entry_made


@broadcast(entry_made)
def leave_line(event: Event[EntryMade]) -> None:
    with (Path(os.environ["LINES"]) / str(os.getpid())).open("a") as file:
        file.write(f"{event.payload.number}\n")
