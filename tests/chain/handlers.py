"""The three services. Each leaves an entry in the transaction in which it sends."""

import os

from django_events import ConsumerGroup, Event
from tests.chain.events import entry_checked, entry_filed
from tests.ledger.events import EntryMade, entry_made
from tests.ledger.models import Entry

checking = ConsumerGroup("checking")
filing = ConsumerGroup("filing")
reporting = ConsumerGroup("reporting")


@checking.exactly_once(entry_made)
def check(event: Event[EntryMade]) -> None:
    _leave_entry(event)
    entry_checked.send(event.payload, key=event.key)


@filing.exactly_once(entry_checked)
def file(event: Event[EntryMade]) -> None:
    _leave_entry(event)
    entry_filed.send(event.payload, key=event.key)


@reporting.exactly_once(entry_filed)
def report(event: Event[EntryMade]) -> None:
    _leave_entry(event)


def _leave_entry(event: Event[EntryMade]) -> None:
    Entry.objects.create(
        handler=event.group or "",
        topic=event.topic,
        event_id=event.id,
        account=event.payload.account,
        number=event.payload.number,
        process=os.getpid(),
    )
