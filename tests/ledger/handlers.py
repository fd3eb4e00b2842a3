"""Handlers that leave an entry for each call, so that tests can count."""

import os
import time
from pathlib import Path

from django_events import Backoff, ConsumerGroup, Event
from tests.ledger.events import EntryMade, entry_closed, entry_made
from tests.ledger.models import Account, Entry

ledger = ConsumerGroup("ledger")
audit = ConsumerGroup("audit")
clinic = ConsumerGroup("clinic")


@ledger.exactly_once(entry_made, entry_closed)
def book(event: Event[EntryMade]) -> None:
    _leave_entry(event)


@audit.idempotent(entry_made)
def note(event: Event[EntryMade]) -> None:
    if event.payload.hold:
        _hold(Path(event.payload.hold))
    _leave_entry(event)


@clinic.exactly_once(entry_made, retry=False, retry_later=Backoff(first=0.2, max=0.2))
def cure(event: Event[EntryMade]) -> None:
    """Fails as long as there is an account of the name that says which events are ill."""
    _leave_entry(event)
    if Account.objects.filter(name=f"ill-{event.payload.account}").exists():
        raise ValueError(f"entry {event.payload.number} is ill")


@clinic.exactly_once(entry_made)
def watch(event: Event[EntryMade]) -> None:
    _leave_entry(event)


def _leave_entry(event: Event[EntryMade]) -> None:
    Entry.objects.create(
        handler=f"{event.group}/{event.handler}",
        topic=event.topic,
        event_id=event.id,
        account=event.payload.account,
        number=event.payload.number,
        process=os.getpid(),
    )


def _hold(file: Path) -> None:
    file.with_suffix(".started").touch()
    while not file.exists():
        time.sleep(0.01)
