"""For tests of sites that use django_events.

Under Django's test runner and pytest-django nothing is sent: no thread starts, no Kafka is contacted, and the events
that the code under test has saved can be looked at with ``saved_events()``, what it has sent with ``send_now`` with
``sent_events()``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DEFAULT_DB_ALIAS

from django_events import tables
from django_events.events import Event
from django_events.models import OutgoingEvent
from django_events.producing.in_tests import sent_in_tests
from django_events.producing.relay import relay


def saved_events(topic: str | None = None, using: str = DEFAULT_DB_ALIAS) -> list[OutgoingEvent]:
    """The rows in the outbox, oldest first; only those of one topic if its name is given."""
    tables.require("saved_events()", "sent_events() has what was sent with send_now()")
    rows = OutgoingEvent.objects.using(using).order_by("id")
    return list(rows.filter(topic=topic) if topic else rows)


def sent_events(topic: str | None = None) -> list[Event[Any]]:
    """What the running test has sent with ``send_now`` and its like, oldest first; only that of one topic if its name
    is given. Each test begins with none."""
    return [event for event in sent_in_tests.all() if topic in (None, event.topic)]


@contextmanager
def sending(timeout: float = 10.0) -> Iterator[None]:
    """Inside, committed events are really sent to Kafka, as outside of tests; needs committed transactions
    (``TransactionTestCase``). At the end what waits is sent for at most ``timeout`` seconds, and the thread ends."""
    relay.allowed_in_tests = True
    try:
        yield
    finally:
        relay.allowed_in_tests = False
        relay.stop(timeout)
