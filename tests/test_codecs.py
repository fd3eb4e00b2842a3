"""A codec of the user's own: what it makes is what handlers get, and nothing else is ever given to it."""

import io
import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

import fastavro
import pytest
from django.db import transaction
from google.protobuf.wrappers_pb2 import StringValue

from django_events import ConsumerGroup, DeclarationError, DecodeError, EncodingError, Event, OnFailure, Topic
from django_events.consuming import repair
from django_events.consuming.service import Service
from django_events.kafka import topics
from django_events.models import DeadLetter, OutgoingEvent
from django_events.testing import sending
from tests.broker import Broker
from tests.letters import a_letter, project
from tests.processes import ROOT
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("declarations")

Consuming = Callable[..., AbstractContextManager[Service]]


class Raw:
    """Bytes as they are."""

    content_type = "application/octet-stream"

    def encode(self, payload: bytes) -> bytes:
        return payload

    def decode(self, data: bytes) -> bytes:
        return data


class Texts:
    """Texts in Latin-1, whose schema may be somewhere else."""

    content_type = "text/plain; charset=latin-1"
    registry_is_away = False

    def encode(self, payload: str) -> bytes:
        return payload.encode("latin-1")

    def decode(self, data: bytes) -> str:
        if Texts.registry_is_away:
            raise ConnectionError("the registry is away")
        return data.decode("latin-1")


class Letters:
    """Lists of letters, in a kind of JSON of their own."""

    content_type = "application/vnd.letters+json"

    def encode(self, payload: list[str]) -> bytes:
        return json.dumps("".join(payload)).encode()

    def decode(self, data: bytes) -> list[str]:
        return list(json.loads(data))


def test_an_event_carries_what_the_codec_makes() -> None:
    from django_events import cloudevents

    event = Topic("raw", bytes, codec=Raw()).event(b"\x00\xff", key="1")
    assert (event.data, event.payload, event.content_type) == (b"\x00\xff", b"\x00\xff", "application/octet-stream")
    assert event.dataschema is None
    assert ("content-type", b"application/octet-stream") in cloudevents.encode(event).headers


class Lossy(Raw):
    def decode(self, data: bytes) -> bytes:
        return data.strip()


class NoBytes(Raw):
    def encode(self, payload: bytes) -> Any:
        return "text"


@pytest.mark.parametrize(
    ("codec", "payload", "reason"),
    [
        (Lossy(), b" a ", r"would not be read as it was sent: payload is b' a ' and would be read as b'a'"),
        (NoBytes(), b"a", "its codec made 'text' of it, which are no bytes"),
        (Texts(), "\N{SNOWMAN}", "cannot be sent: 'latin-1' codec can't encode"),
        (Texts(), 5, "'int' object has no attribute 'encode'"),
    ],
)
def test_what_a_codec_cannot_carry_is_refused_at_the_call(codec: Any, payload: Any, reason: str) -> None:
    with pytest.raises(EncodingError, match=reason):
        Topic("payloads", object, codec=codec).event(payload)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"content_type": None}, "has content_type None. Give it a media type"),
        ({"content_type": "avro"}, "Give it a media type"),
        ({"content_type": "avro/bin\nary"}, "Give it a media type"),
        ({"content_type": "application/cloudevents+json"}, "which is kept for whole CloudEvents"),
        ({"encode": None}, "give an object with content_type, encode and decode"),
        ({"decode": None}, "give an object with content_type, encode and decode"),
    ],
)
def test_what_is_no_codec_is_refused_at_the_declaration(attributes: dict[str, Any], reason: str) -> None:
    with pytest.raises(DeclarationError, match=reason):
        Topic("payloads", bytes, codec=type("Wrong", (Raw,), attributes)())


def test_the_class_of_a_codec_is_no_codec() -> None:
    with pytest.raises(DeclarationError, match="give an object"):
        Topic("payloads", bytes, codec=Raw)  # type: ignore[call-overload]


def test_one_topic_has_one_codec() -> None:
    codec = Raw()
    Topic("payloads", bytes, codec=codec)
    Topic("payloads", bytes, codec=codec)
    with pytest.raises(DeclarationError, match="declared twice with different options"):
        Topic("payloads", bytes, codec=Raw())


def test_the_codecs_in_the_documentation_work() -> None:
    """Avro and Protobuf are a dozen lines each."""
    page = (ROOT / "docs" / "codecs.md").read_text()
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "class Avro" in block]
    click = {"type": "record", "name": "Click", "fields": [{"name": "x", "type": "int"}]}
    given = {"io": io, "fastavro": fastavro, "Any": Any, "Generic": Generic, "M": TypeVar("M"), "Topic": Topic}
    found: dict[str, Any] = {**given, "CLICK": click, "OrderMessage": StringValue}
    exec(code, found)
    assert found["pictures"].event(b"\xff").data == b"\xff"
    assert found["clicks"].event({"x": 1}).data == b"\x02"
    assert found["orders"].event(StringValue(value="tea")).data == b"\n\x03tea"
    for topic, payload in (("clicks", {"x": "1"}), ("clicks", {"x": 1, "y": 2}), ("orders", {"value": "tea"})):
        with pytest.raises(EncodingError):
            found[topic].event(payload)


@pytest.mark.kafka
@pytest.mark.postgres
def test_what_was_sent_is_what_a_handler_gets(broker: Broker, consuming: Consuming) -> None:
    raw = Topic("raw", bytes, codec=Raw())
    group = ConsumerGroup("raw")
    read: list[Event[bytes]] = []

    @group.exactly_once(raw)
    def note(event: Event[bytes]) -> None:
        read.append(event)

    with sending():
        with transaction.atomic():
            raw.send(b"\x00\xff", key="1")
        wait_for(lambda: not OutgoingEvent.objects.exists())
    with consuming(group):
        (event,) = wait_for(lambda: read)
    assert (event.payload, event.data, event.content_type) == (b"\x00\xff", b"\x00\xff", "application/octet-stream")


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.parametrize(
    ("codec", "headers", "body", "expected"),
    [
        (Texts(), [], b"\xe4", "ä"),
        (Texts(), [("content-type", b"Text/Plain")], b"\xe4", "ä"),
        (Texts(), [("content-type", b"application/json")], b'"a"', None),
        (Texts(), [("content-type", b"text/html")], b"a", None),
        (Letters(), [], b'"ab"', ["a", "b"]),
        (Letters(), [("content-type", b"application/json")], b'"ab"', ["a", "b"]),
        (Letters(), [("content-type", b"text/plain")], b'"ab"', None),
        (Texts(), [("content-type", b"application/cloudevents+json")], b'{"id":"1","data_base64":"5A=="}', "ä"),
        (Texts(), [("content-type", b"application/cloudevents+json")], b'{"id":"1","data":{}}', None),
    ],
)
def test_the_codec_of_the_topic_says_which_content_types_are_read(
    broker: Broker, consuming: Consuming, codec: Any, headers: Any, body: bytes, expected: Any
) -> None:
    topic = Topic("strangers", object, codec=codec)
    group = ConsumerGroup("strangers")
    read: list[Any] = []

    @group.idempotent(topic, on_failure=OnFailure.SAVE)
    def note(event: Event[object]) -> None:
        read.append(event.payload)

    topics.create_missing(["strangers"], timeout=60)
    broker.put("strangers", body, key=b"1", headers=headers, partition=0)
    with consuming(group):
        wait_for(lambda: broker.committed("strangers", "strangers", 0) == 1)
        assert read == ([] if expected is None else [expected])
        if expected is None:
            letter = wait_for(DeadLetter.objects.first)
            assert letter is not None
            assert letter.exception == "django_events.exceptions.DecodeError"
            assert "has content type" in letter.message


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_codec_whose_registry_is_away_is_asked_again(
    broker: Broker, consuming: Consuming, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    topic = Topic("texts", str, codec=Texts())
    group = ConsumerGroup("texts")
    read: list[str] = []

    @group.idempotent(topic)
    def note(event: Event[str]) -> None:
        read.append(event.payload)

    topics.create_missing(["texts"], timeout=60)
    broker.put("texts", b"a", key=b"1", partition=0)
    monkeypatch.setattr(Texts, "registry_is_away", True)
    with consuming(group):
        wait_for(lambda: "the registry is away" in caplog.text)
        monkeypatch.setattr(Texts, "registry_is_away", False)
        wait_for(lambda: read == ["a"])


@pytest.mark.django_db
def test_only_json_can_be_edited_and_only_what_the_codec_reads() -> None:
    raw, letters = Topic("raw", bytes, codec=Raw()), Topic("letters", list, codec=Letters())
    group = ConsumerGroup("editing")

    @group.idempotent(raw, letters)
    def note(event: Event[Any]) -> None: ...

    where: dict[str, Any] = {"group_name": "editing", "handler": "note", "headers": []}
    in_json, in_bytes = project(a_letter(topic="letters", value=b'"ab"', **where), a_letter(topic="raw", **where))
    assert repair.editable_payload(in_json) == '"ab"'
    with pytest.raises(DecodeError, match="The body cannot be read as application/vnd.letters"):
        repair.edit(in_json, "7")
    assert repair.edit(in_json, '"abc"').done == 1
    with pytest.raises(DecodeError, match="The payload is application/octet-stream, and only JSON can be edited"):
        repair.edit(in_bytes, '"abc"')
