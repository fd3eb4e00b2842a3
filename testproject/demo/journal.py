"""The journal of the demo: what each process learns of an event goes as a line of JSON into one file."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings

from django_events import Event
from django_events.signals import event_handled, event_saved, event_sent
from testproject.shop.events import OrderPlaced


def keep_journal() -> None:
    """Write down every fact of this process from now on."""
    event_saved.connect(_note_saved)
    event_sent.connect(_note_sent)
    event_handled.connect(_note_handled)


class JournalReader:
    """Reads the journal bit by bit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def news(self) -> Iterator[dict[str, Any]]:
        """The lines that were written since the last call, in their order."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            for line in file.readlines():
                self._read += len(line)
                yield json.loads(line)


def _note_saved(event: Event[OrderPlaced], **_: object) -> None:
    _write("saved", event.id, order=event.payload.order_id)


def _note_sent(event_id: str, saved_at: datetime, **_: object) -> None:
    _write("sent", event_id)


def _note_handled(sender: Callable[..., None], event: Event[OrderPlaced], **_: object) -> None:
    _write("handled", event.id, handler=f"{event.group}/{event.handler}")


def _write(fact: str, event_id: str, **more: object) -> None:
    line = {"fact": fact, "event": event_id, "at": time.time(), "process": sys.argv[1], **more}
    file = os.open(settings.DEMO_JOURNAL, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        os.write(file, json.dumps(line).encode() + b"\n")  # one write, so that processes do not mix their lines
    finally:
        os.close(file)
