"""Records from strangers: what cannot be read does what its handler says, and nobody else waits for it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from django_events import ConsumerGroup, Event, OnFailure
from django_events.consuming.service import Service
from django_events.kafka import topics
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_made
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.usefixtures("declarations")]

Consuming = Callable[..., AbstractContextManager[Service]]
Headers = list[tuple[str, bytes | None]]

GOOD = b'{"account":"ann","number":1}'
STRUCTURED: Headers = [("content-type", b"application/cloudevents+json; charset=utf-8")]


@pytest.fixture(autouse=True)
def created(broker: Broker) -> None:
    topics.create_missing(["ledger.entry-made"], timeout=60)


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b"{", [], "is not JSON of EntryMade"),
        (b"\xff\xfe", [], "is not JSON of EntryMade"),
        (b"[" * 100_000, [], "is not JSON of EntryMade"),
        (b'{"account":"ann"}', [], "missing required field `number`"),
        (b'{"account":"ann","number":"1"}', [], "Expected `int`, got `str` - at `$.number`"),
        (None, [], "has no body"),
        (b"\x00\x00", [("content-type", b"application/avro")], "has content type 'application/avro'"),
        (b"not JSON", STRUCTURED, "is not a CloudEvent in JSON"),
        (b'{"id":"1","data_base64":"%"}', STRUCTURED, "is not a CloudEvent in JSON"),
        (b'{"id":{},"data":{}}', STRUCTURED, "attribute 'id' is not a text or number"),
    ],
)
def test_a_record_that_cannot_be_read_waits_and_other_keys_go_on(
    broker: Broker, consuming: Consuming, caplog: Any, body: bytes | None, headers: Headers, reason: str
) -> None:
    group = ConsumerGroup("reading")
    read: list[str | None] = []

    @group.idempotent(entry_made, on_failure=OnFailure.BLOCK)
    def note(event: Event[EntryMade]) -> None:
        read.append(event.key)

    broker.put("ledger.entry-made", GOOD, key=b"first", partition=0)
    broker.put("ledger.entry-made", body, key=b"bad", headers=headers, partition=0)
    broker.put("ledger.entry-made", GOOD, key=b"bad", partition=0)
    broker.put("ledger.entry-made", GOOD, key=b"other", partition=0)
    with consuming(group):
        wait_for(lambda: sorted(map(str, read)) == ["first", "other"])
        wait_for(lambda: "its key waits until this process is replaced" in caplog.text)
    assert broker.committed("reading", "ledger.entry-made", 0) == 1
    assert "Handler reading/note failed with record ledger.entry-made[0]@1" in caplog.text
    assert reason in caplog.text


@pytest.mark.parametrize(
    ("key", "headers", "expected"),
    [
        (b"\xff\x00", [], "\udcff\x00"),
        (None, [], None),
        (b"", [], ""),
        (b"k", [("ce_time", b"yesterday"), ("ce_id", b"\xff"), ("x", None), ("x", b"\xfe")], "k"),
    ],
)
def test_odd_keys_and_headers_are_no_reason_to_refuse_an_event(
    broker: Broker, consuming: Consuming, key: bytes | None, headers: Headers, expected: str | None
) -> None:
    group = ConsumerGroup("odd")
    read: list[Event[EntryMade]] = []

    @group.exactly_once(entry_made)
    def note(event: Event[EntryMade]) -> None:
        read.append(event)

    broker.put("ledger.entry-made", GOOD, key=key, headers=headers, partition=0)
    with consuming(group):
        wait_for(lambda: broker.committed("odd", "ledger.entry-made", 0) == 1)
    (event,) = read
    assert event.key == expected
    assert event.payload == EntryMade("ann", 1)
    assert event.time is None


def test_structured_cloudevents_are_read(broker: Broker, consuming: Consuming) -> None:
    group = ConsumerGroup("structured")
    read: list[Event[EntryMade]] = []

    @group.idempotent(entry_made)
    def note(event: Event[EntryMade]) -> None:
        read.append(event)

    envelope = (
        b'{"specversion":"1.0","id":"7","source":"elsewhere","type":"made","time":"2026-01-02T03:04:05Z",'
        b'"shade":"red","data":%b}'
    )
    broker.put("ledger.entry-made", envelope % GOOD, headers=[*STRUCTURED, ("trace", b"1")], partition=0)
    with consuming(group):
        wait_for(lambda: read)
    (event,) = read
    assert (event.id, event.source, event.type, event.extensions) == ("7", "elsewhere", "made", {"shade": "red"})
    assert event.payload == EntryMade("ann", 1)
    assert event.header("trace") == "1"
    assert event.time is not None and event.time.isoformat() == "2026-01-02T03:04:05+00:00"
