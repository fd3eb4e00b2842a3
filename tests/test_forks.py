"""A process that forks after its first event: each child sends its own events, and the parent goes on."""

import pytest

from django_events.kafka import topics
from django_events.models import OutgoingEvent
from tests.broker import Broker
from tests.processes import Site
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


def test_parent_and_children_send_their_events(site: Site, broker: Broker) -> None:
    topics.create_missing(["ledger.entry-made"], timeout=10)
    output = site.run("make_entries_in_forks", "--children=3")
    assert "Traceback" not in output
    wait_for(lambda: not OutgoingEvent.objects.exists())
    sent = {(record.key, record.payload["number"]) for record in broker.read("ledger.entry-made")}
    assert sent == {(name, number) for name in (b"parent", b"child-0", b"child-1", b"child-2") for number in (1, 2)}
