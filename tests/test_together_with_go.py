"""Records as the Go library writes them, byte for byte, and ours as its strict reader wants them."""

import json
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, TypedDict

import attrs
import msgspec
import pydantic
import pytest
from django.db import transaction

from django_events import (
    Backoff,
    ConsumerGroup,
    DecodeError,
    Event,
    OnFailure,
    Service,
    Topic,
    XMLCodec,
    broadcast,
    broadcasting,
    cloudevents,
)
from django_events.consuming import letter_writer
from django_events.consuming.broadcast import Broadcast
from django_events.consuming.reading import read_event
from django_events.following import heartbeat
from django_events.handlers import Handler
from django_events.kafka import topics
from django_events.kafka.record import Headers, Partition, ReceivedRecord
from django_events.models import DeadLetter, State
from django_events.testing import sending
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_made
from tests.waiting import wait_for

Consuming = Callable[..., AbstractContextManager[Service]]

pytestmark = pytest.mark.usefixtures("declarations")

JSON, STRUCTURED, XML = b"application/json", b"application/cloudevents+json", b"application/xml"


@dataclass(frozen=True)
class Order:
    id: int
    note: str


# ── what Go writes ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Written:
    """A record, and what a handler gets of it."""

    value: bytes | None
    headers: Headers
    key: bytes | None = b"42"
    expected: Any = None


ATTRIBUTES: Headers = [
    ("ce_time", b"2026-01-02T03:04:05+05:30"),
    ("ce_specversion", b"1.0"),
    ("ce_dataschema", b"Order"),
    ("ce_source", b"warehouse"),
    ("ce_type", b"orders"),
    ("ce_subject", b"42"),
    ("ce_id", b"0d6f9a30-8a6c-4a5e-9f43-1c1f1c2b7a55"),
]
SAID = {
    "id": "0d6f9a30-8a6c-4a5e-9f43-1c1f1c2b7a55",
    "source": "warehouse",
    "type": "orders",
    "subject": "42",
    "dataschema": "Order",
    "specversion": "1.0",
    "time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    "payload": Order(7, "<a> & b\u2028"),
    "key": "42",
}
UNSAID = {"source": "", "subject": "42", "time": None, "dataschema": None, "specversion": "1.0", "type": "orders"}
BODY = rb'{"id":7,"note":"\u003ca\u003e \u0026 b\u2028"}'
XML_BODY = "<Order><id>7</id><note>&lt;a&gt; &amp; b\u2028</note></Order>".encode()


def envelope(**said: Any) -> bytes:
    """A whole event in JSON, as in structured mode."""
    given = {name: str(SAID[name]) for name in ("id", "source", "type", "subject", "dataschema", "specversion")}
    return json.dumps({"time": "2026-01-02T03:04:05+05:30", **given, **said}).encode()


BINARY = Written(BODY, [*ATTRIBUTES, ("content-type", JSON)], expected=SAID)
BASE64 = "eyJpZCI6Nywibm90ZSI6IjxhPiAmIGLigKgifQ=="
XML_BASE64 = "PE9yZGVyPjxpZD43PC9pZD48bm90ZT4mbHQ7YSZndDsgJmFtcDsgYuKAqDwvbm90ZT48L09yZGVyPg=="

WRITTEN = {
    "binary": BINARY,
    "with a charset": replace(BINARY, headers=[*ATTRIBUTES, ("content-type", b"application/json; charset=utf-8")]),
    "from its outbox, with headers that repeat": replace(
        BINARY,
        headers=[("x", b"2"), ("content-type", JSON), ("x", b"1"), *reversed(ATTRIBUTES), ("id", b"190012")],
        expected=SAID | {"headers": (("x", "2"), ("x", "1"), ("id", "190012"))},
    ),
    "with nanoseconds": replace(
        BINARY,
        headers=[("ce_time", b"2026-01-02T03:04:05.123456789Z"), *ATTRIBUTES[1:], ("content-type", JSON)],
        expected=SAID | {"time": datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)},
    ),
    "with attributes that are empty": Written(
        BODY,
        [*((name, b"") for name, _ in ATTRIBUTES), ("content-type", JSON)],
        expected=UNSAID | {"payload": SAID["payload"]},
    ),
    "structured, data as JSON": Written(
        envelope(data={"id": 7, "note": "<a> & b\u2028"}), [("content-type", STRUCTURED)], expected=SAID
    ),
    "structured, data as a text": Written(
        envelope(datacontenttype="application/json", data=BODY.decode()), [("content-type", STRUCTURED)], expected=SAID
    ),
    "structured, data_base64": Written(
        envelope(datacontenttype="application/json", data_base64=BASE64), [("content-type", STRUCTURED)], expected=SAID
    ),
    "of a stranger": Written(
        BODY, [], key=b"\xff\x00", expected=UNSAID | {"subject": "\udcff\x00", "key": "\udcff\x00"}
    ),
    "of a stranger without key": Written(
        BODY, [("x", None)], key=None, expected=UNSAID | {"subject": None, "key": None}
    ),
}
WRITTEN_XML = {
    "binary": Written(XML_BODY, [*ATTRIBUTES, ("content-type", XML)], expected=SAID),
    "text/xml": Written(XML_BODY, [*ATTRIBUTES, ("content-type", b"text/xml; charset=utf-8")], expected=SAID),
    "structured, data as a text": Written(
        envelope(datacontenttype="application/xml", data=XML_BODY.decode()),
        [("content-type", STRUCTURED)],
        expected=SAID,
    ),
    "structured, data_base64": Written(
        envelope(datacontenttype="application/xml", data_base64=XML_BASE64),
        [("content-type", STRUCTURED)],
        expected=SAID,
    ),
    "of a stranger": Written(XML_BODY, [], expected=UNSAID | {"payload": SAID["payload"]}),
}


def json_topic() -> Topic[Order]:
    return Topic("orders", Order)


def xml_topic() -> Topic[Order]:
    return Topic("orders", Order, codec=XMLCodec(Order))


CASES = [
    *(pytest.param(json_topic, each, id=f"JSON, {name}") for name, each in WRITTEN.items()),
    *(pytest.param(xml_topic, each, id=f"XML, {name}") for name, each in WRITTEN_XML.items()),
]


def handler_of(topic: Topic[Any]) -> Handler:
    group = ConsumerGroup("reading")

    @group.idempotent(topic)
    def note(event: Event[Any]) -> None: ...

    return group.handlers[0]


def as_received(written: Written, offset: int = 5) -> ReceivedRecord:
    return ReceivedRecord(Partition("orders", 0), offset, written.key, written.value, list(written.headers), None)


def differences(event: Event[Any], expected: dict[str, Any]) -> dict[str, Any]:
    found = {name: getattr(event, name) for name in expected}
    return {name: value for name, value in found.items() if value != expected[name]}


@pytest.mark.parametrize(("topic", "written"), CASES)
def test_what_go_writes_is_read(topic: Callable[[], Topic[Order]], written: Written) -> None:
    event = read_event(handler_of(topic()), as_received(written), 1)
    assert differences(event, written.expected) == {}
    assert event.payload == SAID["payload"]


def test_an_event_without_an_id_gets_one_from_its_place() -> None:
    """Equal bodies in the same millisecond are two events here."""
    handler = handler_of(json_topic())
    for name in ("with attributes that are empty", "of a stranger"):
        first, second, first_again = (
            read_event(handler, as_received(WRITTEN[name], offset), 1) for offset in (5, 6, 5)
        )
        assert first.id != second.id
        assert first.identity != second.identity
        assert (first.id, first.identity) == (first_again.id, first_again.identity)


def test_a_missing_payload_is_null_and_cannot_be_read() -> None:
    with pytest.raises(DecodeError, match="Expected `object`, got `null`"):
        read_event(handler_of(json_topic()), as_received(replace(BINARY, value=b"null")), 1)


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.parametrize(("topic", "written"), [(json_topic, WRITTEN), (xml_topic, WRITTEN_XML)], ids=["JSON", "XML"])
def test_what_go_writes_reaches_a_handler(
    broker: Broker, consuming: Consuming, topic: Callable[[], Topic[Order]], written: dict[str, Written]
) -> None:
    broker.create("orders", partitions=1)
    for each in written.values():
        broker.put("orders", each.value, key=each.key, headers=each.headers)
    group = ConsumerGroup("reading")
    read: dict[int | None, Event[Order]] = {}

    @group.idempotent(topic())
    def note(event: Event[Order]) -> None:
        read[event.offset] = event

    with consuming(group):
        wait_for(lambda: len(read) == len(written))
    assert [differences(read[offset], each.expected) for offset, each in enumerate(written.values())] == [{}] * len(
        read
    )


# ── dead letters of a group that has moved here ──────────────────────────────────────────────────────────────────


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_group_that_has_moved_goes_on_where_it_was_and_its_letters_are_tried(
    broker: Broker, consuming: Consuming
) -> None:
    """The letters name no handler and no error, so all handlers that try again later get them; one that saves keeps
    them for an operator."""
    letters = "ledger.entry-made.moved.dead-letter"
    broker.create("ledger.entry-made", partitions=1)
    broker.create(letters, partitions=1)
    for topic, numbers in (("ledger.entry-made", (1, 2)), (letters, (3, 4))):
        for number in numbers:
            headers: Headers = [("ce_id", b"go-%d" % number), ("ce_source", b"go"), ("content-type", JSON)]
            broker.put(topic, b'{"account":"ann","number":%d}' % number, key=b"ann", headers=headers)
    broker.commit("moved", "ledger.entry-made", 0, 1)
    broker.commit("moved-dead-letter", letters, 0, 1)

    group = ConsumerGroup("moved")
    handled: list[tuple[str | None, str]] = []
    later = Backoff(first=0.05, max=0.05)

    def note(event: Event[EntryMade]) -> None:
        handled.append((event.handler, event.id))

    group.exactly_once(entry_made, name="first", retry_later=later)(note)
    group.idempotent(entry_made, name="second", retry_later=later)(note)
    group.idempotent(entry_made, name="discarding", on_failure=OnFailure.DISCARD)(note)
    group.idempotent(entry_made, name="saving", on_failure=OnFailure.SAVE)(note)
    with consuming(group):
        wait_for(lambda: DeadLetter.objects.filter(state=State.RESOLVED).count() == 2)
        wait_for(lambda: len(handled) == 6)
    names = ("first", "second", "discarding", "saving")
    assert sorted(handled) == sorted([*((name, "go-2") for name in names), ("first", "go-4"), ("second", "go-4")])
    (saved,) = DeadLetter.objects.exclude(state=State.RESOLVED)
    assert (saved.handler, saved.event_id, saved.automatic, saved.message) == ("saving", "go-4", False, "")


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_letter_that_does_not_say_where_its_event_was_is_not_taken_for_what_is_at_its_own_offset(
    broker: Broker, consuming: Consuming
) -> None:
    """Neither has an id, so their places tell them apart."""
    letters = "ledger.entry-made.moved.dead-letter"
    group = ConsumerGroup("moved")
    handled: list[int] = []

    @group.exactly_once(entry_made, retry_later=Backoff(first=0.05, max=0.05))
    def note(event: Event[EntryMade]) -> None:
        handled.append(event.payload.number)

    for topic, number in (("ledger.entry-made", 1), (letters, 2)):
        broker.create(topic, partitions=1)
        broker.put(topic, b'{"account":"ann","number":%d}' % number)
    with consuming(group):
        wait_for(lambda: DeadLetter.objects.filter(state=State.RESOLVED).exists())
        wait_for(lambda: broker.committed("moved", "ledger.entry-made", 0) == 1)
    assert sorted(handled) == [1, 2]


# ── heartbeats ───────────────────────────────────────────────────────────────────────────────────────────────────

BEAT = "4c8f1f0e-7d3a-4b0e-9a57-0c6f1f2d9b11"


def heartbeat_of_go(key: str, id: str, source: str, time: str) -> Written:
    """Its body is an empty struct; its headers come in any order, the content type last."""
    headers = {
        "ce_source": source,
        "ce_dataschema": "events.HeartbeatEvent",
        "ce_subject": key,
        "ce_time": time,
        "ce_id": id,
        "ce_type": "event-library.heartbeat.broadcast.v1",
        "ce_specversion": "1.0",
        "content-type": "application/json",
    }
    return Written(b"{}", [(name, value.encode()) for name, value in headers.items()], key.encode())


def test_our_heartbeat_is_that_of_go_byte_for_byte(settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "SOURCE": "shop"}
    ours = heartbeat.record()
    check_strictly(ours.value, ours.headers)
    said = {name: (value or b"").decode() for name, value in ours.headers}
    assert ours.key
    theirs = heartbeat_of_go(ours.key.decode(), said["ce_id"], "shop", said["ce_time"])
    assert ours.topic == "event-library.heartbeat.broadcast.v1"
    assert (ours.key, ours.value, sorted(ours.headers)) == (theirs.key, theirs.value, sorted(theirs.headers))


@pytest.mark.kafka
def test_heartbeats_of_go_tell_that_we_hear_and_ours_reach_kafka_as_its_reader_wants_them(
    broker: Broker, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "BROADCAST_HEARTBEAT": 1000.0}  # ours are not sent meanwhile
    monkeypatch.setattr(heartbeat, "ANSWER", 60.0)
    topics.create_missing(["ledger.entry-made", heartbeat.TOPIC], timeout=60)
    broadcast(entry_made, name="note")(lambda event: None)
    running = Broadcast([each for each in broadcasting.declared() if each.name == "note"])
    running.start()
    try:
        assert running.wait_until_ready(60)
        before = time.monotonic()
        assert time.monotonic() - running.latency() < before
        theirs = heartbeat_of_go(BEAT, str(uuid.uuid4()), "warehouse", "2026-01-02T03:04:05+05:30")
        broker.put(heartbeat.TOPIC, theirs.value, key=theirs.key, headers=theirs.headers)
        wait_for(lambda: time.monotonic() - running.latency("note") > before)
        running._heart._send()
    finally:
        assert running.stop(120)
    (ours,) = [each for each in broker.read(heartbeat.TOPIC) if each.key != theirs.key]
    check_strictly(ours.value, ours.headers)


# ── what we write ────────────────────────────────────────────────────────────────────────────────────────────────


def check_strictly(value: bytes | None, headers: Headers) -> None:
    """Each rule of the reader of the Go library."""
    count = Counter(name for name, _ in headers)
    said = dict(headers)
    assert count["content-type"] == 1, "one content type, with its name in lower case"
    assert said["content-type"] in (b"application/json", b"application/json; charset=utf-8"), "this text and no other"
    assert value not in (None, b"", b"null"), "a body"
    json.loads(value.decode())
    for name in ("ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time"):
        assert count[name] == 1, f"one {name}"
        assert said[name], f"{name} is not empty"
    assert said["ce_specversion"] == b"1.0"
    assert re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", said["ce_time"] or b""), "RFC 3339"
    assert all(name == name.lower() for name in count if name.lower().startswith("ce_")), "attributes in lower case"


@attrs.frozen
class Attrs:
    id: int


class Struct(msgspec.Struct, frozen=True):
    id: int


class Typed(TypedDict):
    id: int


class Model(pydantic.BaseModel):
    id: int


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (Order, Order(7, "<a>")),
        (Attrs, Attrs(7)),
        (Struct, Struct(7)),
        (Typed, {"id": 7}),
        (dict, {"id": 7}),
        (Model, Model(id=7)),
    ],
)
@pytest.mark.parametrize(
    "said",
    [
        {},
        {"key": "42", "subject": "s", "headers": [("x", "1"), ("X", "2")], "extensions": {"shade": "red"}},
        {"key": "", "time": datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=timezone(timedelta(hours=-3)))},
    ],
)
def test_what_we_write_is_what_the_strict_reader_wants(kind: Any, payload: Any, said: dict[str, Any]) -> None:
    record = cloudevents.encode(Topic("orders", kind).event(payload, **said))
    check_strictly(record.value, record.headers)


def test_what_we_write_byte_for_byte() -> None:
    event = Topic("orders", Order).event(
        Order(7, "<a> & ä"),
        key="42",
        id="1",
        source="shop",
        time=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        headers={"tenant": "9"},
    )
    record = cloudevents.encode(event)
    assert (record.topic, record.key, record.value) == ("orders", b"42", '{"id":7,"note":"<a> & ä"}'.encode())
    assert record.headers == [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"1"),
        ("ce_type", b"orders"),
        ("ce_source", b"shop"),
        ("ce_subject", b"42"),
        ("ce_time", b"2026-01-02T03:04:05Z"),
        ("ce_dataschema", b"Order"),
        ("content-type", b"application/json"),
        ("tenant", b"9"),
    ]


@pytest.mark.parametrize(
    ("value", "changed"),
    [
        (None, {}),
        (b"null", {}),
        (BODY, {"content-type": b"application/JSON"}),
        (BODY, {"content-type": b"application/json;charset=utf-8"}),
        (BODY, {"ce_id": b""}),
        (BODY, {"ce_time": b"2026-01-02 03:04:05"}),
    ],
)
def test_the_strict_reader_is_strict(value: bytes | None, changed: dict[str, bytes]) -> None:
    headers: Headers = [(name, changed.get(name, text or b"")) for name, text in BINARY.headers]
    check_strictly(BINARY.value, BINARY.headers)
    with pytest.raises(AssertionError):
        check_strictly(value, headers)


@pytest.mark.kafka
@pytest.mark.postgres
def test_what_reaches_kafka_is_what_the_strict_reader_wants(
    broker: Broker, consuming: Consuming, patient_sender: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the outbox, straight, and as a dead letter: also one that Go has written comes back as it was."""
    monkeypatch.setattr(letter_writer, "WAIT", 50.0)  # what a slow Kafka has is not written once more
    group = ConsumerGroup("strict")

    @group.idempotent(entry_made, on_failure=OnFailure.SAVE, retry=False)
    def refuse(event: Event[EntryMade]) -> None:
        raise ValueError("refused")

    with sending(60), transaction.atomic():
        entry_made.send(EntryMade("ann", 1), key="ann")
    with sending():
        entry_made.send_now(EntryMade("ann", 2), timeout=60)
    body = b'{"account":"ann","number":3}'
    broker.put("ledger.entry-made", body, key=b"ann", headers=BINARY.headers)
    with consuming(group):
        wait_for(lambda: DeadLetter.objects.count() == 3)
    records = [*broker.read("ledger.entry-made"), *broker.read("ledger.entry-made.strict.dead-letter")]
    assert len(records) == 6
    for record in records:
        check_strictly(record.value, record.headers)
    (of_go,) = [each for each in records[3:] if each.payload["number"] == 3]
    assert (of_go.key, of_go.value) == (b"ann", body)
    assert [each for each in of_go.headers if not each[0].startswith("dead-letter-")] == BINARY.headers
