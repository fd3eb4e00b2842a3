"""What identifies an event at a handler, in the table of processed events."""

import hashlib
import uuid

from django_events import ConsumerGroup, Event, Topic
from django_events.consuming.marks import mark_key, mark_of
from django_events.consuming.reading import read_event
from django_events.kafka.record import Partition, ReceivedRecord
from django_events.models import Mark

Payload = dict[str, int]


def test_the_key_stays_what_it_was(declarations: None) -> None:
    """Rows that earlier versions have written are found by it."""
    topic = Topic("marks", Payload)
    group = ConsumerGroup("auditors")

    @group.exactly_once(topic)
    def handle(event: Event[Payload]) -> None: ...

    parts = [b"marks", "søurce".encode(), b"id\xff", b"auditors", b"handle"]
    measured = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    key = hashlib.blake2b(measured, digest_size=16).digest()
    headers: list[tuple[str, bytes | None]] = [("ce_id", parts[2]), ("ce_source", parts[1])]
    event = read_event(group.handlers[0], ReceivedRecord(Partition("marks", 0), 1, b"a", b"{}", headers, None), 1)
    assert mark_of(event) == Mark(key, "marks", "søurce", "id\\xff", "auditors", "handle")
    assert mark_key(event.identity, "auditors", "handle") == uuid.UUID(bytes=key)
