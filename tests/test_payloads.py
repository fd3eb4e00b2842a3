"""A payload arrives as it was sent, or is refused at ``send``, in the caller's transaction, with nothing saved."""

import math
import subprocess
import sys
import traceback
import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, TypedDict

import attrs
import msgspec
import pydantic
import pytest
from django.db import transaction
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from django_events import DeclarationError, DecodeError, EncodingError, Event, EventTooLarge, InvalidEvent, Topic
from django_events.testing import saved_events
from tests.processes import ROOT

pytestmark = pytest.mark.usefixtures("declarations")


class Colour(Enum):
    RED = "red"


@dataclass
class Item:
    name: str
    price: Decimal = Decimal(0)


@dataclass
class Order:
    id: int
    items: list[Item] = field(default_factory=list)
    colour: Colour = Colour.RED
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    day: date = date(2026, 1, 1)
    token: uuid.UUID = uuid.UUID(int=0)
    note: str | None = None
    weight: float = 0.0


class Mapped(TypedDict):
    name: str
    count: int


class Struct(msgspec.Struct):
    name: str


@attrs.define
class Attrs:
    name: str
    price: Decimal = Decimal(0)
    _secret: int = 1


class Line(pydantic.BaseModel):
    name: str
    price: Decimal = Decimal(0)


class Model(pydantic.BaseModel):
    order_id: int = pydantic.Field(alias="orderId")
    lines: list[Line] = []
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    weight: float = 0.0


@pydantic.dataclasses.dataclass
class Checked:
    count: pydantic.PositiveInt


class Numbers(pydantic.RootModel[list[int]]):
    pass


SECRET = "12345-67890"


def topic(payload_type: Any = dict) -> Topic[Any]:
    return Topic("payloads", payload_type)


@pytest.mark.parametrize(
    ("payload_type", "payload"),
    [
        (Order, Order(1, [Item("tea", Decimal("2.50"))], note="ä\N{SNOWMAN}\x00", weight=0.1)),
        (Order, Order(2**62, at=datetime(2026, 1, 1, 3, 0, 0, 1, tzinfo=timezone(timedelta(hours=3))))),
        (Mapped, {"name": "tea", "count": 1}),
        (Struct, Struct("tea")),
        (dict, {"a": [1, 2.5, "x", None, True, {"b": {}}]}),
        (dict[str, int], {"a": 1}),
        (dict, {}),
        (Attrs, Attrs("ä", Decimal("2.50"))),
        (Model, Model(orderId=2**62, lines=[Line(name="ä\N{SNOWMAN}\x00", price=Decimal("2.50"))], weight=0.1)),
        (Checked, Checked(1)),
        (Numbers, Numbers([1, 2])),
    ],
)
def test_what_is_sent_is_what_is_read(payload_type: Any, payload: Any) -> None:
    event = topic(payload_type).event(payload)
    assert event.payload == payload
    assert event.data is not None
    assert topic2(payload_type).codec.decode(event.data) == payload


def test_texts_of_a_subclass_are_read_as_texts() -> None:
    event = topic(Item).event(Item(mark_safe("<b>tea</b>")))
    assert event.data == b'{"name":"<b>tea</b>","price":"0"}'
    assert type(event.payload.name) is str
    assert topic2(dict).event({mark_safe("k"): [mark_safe("v")]}).payload == {"k": ["v"]}


def topic2(payload_type: Any) -> Topic[Any]:
    return Topic("payloads.2", payload_type)


@pytest.mark.parametrize(
    ("payload_type", "payload", "reason"),
    [
        (Order, Order("1"), r"Expected `int`, got `str` - at `\$\.id`"),  # type: ignore[arg-type]
        (Order, Order(1, weight=math.nan), "Expected `float`, got `null`"),
        (Order, Order(1, weight=math.inf), "Expected `float`, got `null`"),
        (Order, Order(1, colour="red"), r"payload\.colour is 'red' and would be read as <Colour\.RED"),  # type: ignore[arg-type]
        (Order, Order(1, at=datetime(2026, 1, 1), day=datetime(2026, 1, 1)), "Order"),
        (Order, {"id": 1}, "payload is {'id': 1} and would be read as Order"),
        (Item, Item("tea", "2.50"), r"payload\.price is '2\.50' and would be read as Decimal"),  # type: ignore[arg-type]
        (Item, Item(gettext_lazy("tea")), r"lazy text has no value yet; send str\(text\)"),  # type: ignore[arg-type]
        (Mapped, {"name": "tea"}, "missing required field `count`"),
        (Mapped, {"name": "tea", "count": 1, "more": 2}, r"payload\.more is 2"),
        (dict, {"a": Decimal("2.50")}, r"payload\.a is Decimal\('2\.50'\) and would be read as '2\.50'"),
        (dict, {"a": math.nan}, r"payload\.a is nan and would be read as None"),
        (dict, {"a": (1, 2)}, r"payload\.a is \(1, 2\) and would be read as \[1, 2\]"),
        (dict, {"a": {1, 2}}, r"payload\.a is"),
        (dict, {1: "a"}, r"payload\.1 is 'a'"),
        (dict, {"a": datetime(2026, 1, 1, tzinfo=UTC)}, r"payload\.a is"),
        (dict, {"a": object()}, "a value of type object has no form in JSON"),
        (dict, {"a": "\ud800"}, "cannot be sent"),
        (Attrs, Attrs(1), r"Expected `str`, got `int` - at `\$\.name`"),  # type: ignore[arg-type]
        (Attrs, Attrs("tea", secret=2), r"payload\._secret is 2 and would be read as 1"),
        (Attrs, Item("tea"), r"payload is Item\(.*would be read as Attrs"),
        (Model, Model.model_construct(order_id="1"), r"payload\.order_id is '1' and would be read as 1"),
        (Model, Model.model_construct(order_id="x"), r"unable to parse string as an integer - at `\$\.orderId`"),
        (Model, Model(orderId=1, weight=math.nan), r"valid number - at `\$\.weight`"),
        (Model, {"orderId": 1}, r"payload is \{'orderId': 1\} and would be read as Model"),
        (dict, [1], "Expected `object`, got `array`"),
        (dict, None, r"is None\. Send a dict; on a compacted topic, send_tombstone"),
    ],
)
def test_what_would_not_be_read_as_it_is_is_refused(payload_type: Any, payload: Any, reason: str) -> None:
    with pytest.raises(EncodingError, match=reason):
        topic(payload_type).event(payload)


def test_a_payload_that_contains_itself_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["a"] = endless
    with pytest.raises(EncodingError, match="cannot be sent"):
        topic().event(endless)


@pytest.mark.django_db
def test_nothing_is_saved_of_a_refused_event() -> None:
    orders = topic(Item)
    good = orders.event(Item("tea"), key="1")
    with transaction.atomic():
        for refused in (
            lambda: orders.send(Item(1)),  # type: ignore[arg-type]
            lambda: orders.send(Item("x" * 1_000_000)),
            lambda: orders.send_many([good, topic2(Item).event(Item("tea"))]),
            lambda: orders.send_many([good, "not an event"]),  # type: ignore[list-item]
        ):
            with pytest.raises((EncodingError, EventTooLarge, InvalidEvent)):
                refused()
        orders.send(Item("coffee"))  # the transaction is as good as before
    assert [row.topic for row in saved_events()] == ["payloads"]


@pytest.mark.parametrize("size", [0, 2_000])
def test_the_limit_counts_key_body_and_headers(size: int) -> None:
    from django_events import cloudevents

    narrow = Topic("narrow", dict, max_bytes=2_000)
    assert cloudevents.encode(narrow.event({"a": 1}))
    for event in (
        narrow.event({"a": "x" * 2_000}),
        narrow.event({"a": 1}, key="x" * 2_000),
        narrow.event({"a": 1}, headers={"h": "x" * 2_000}),
        narrow.event({"a": 1}, extensions={"e": "x" * 2_000}),
    ):
        with pytest.raises(EventTooLarge, match=r"its limit is 2,000\. Send less"):
            cloudevents.encode(event)


def test_an_event_has_the_attributes_that_it_is_given() -> None:
    from django_events import cloudevents

    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    event = topic(Item).event(
        Item("tea"),
        key="k",
        id="1",
        source="elsewhere",
        subject="s",
        type="made",
        time=moment,
        dataschema="Item.v2",
        extensions={"shade": "red"},
        headers=[("x", "1"), ("x", None)],
    )
    record = cloudevents.encode(event)
    assert record.key == b"k"
    assert record.headers == [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"1"),
        ("ce_type", b"made"),
        ("ce_source", b"elsewhere"),
        ("ce_subject", b"s"),
        ("ce_time", b"2026-01-02T03:04:05Z"),
        ("ce_dataschema", b"Item.v2"),
        ("content-type", b"application/json"),
        ("ce_shade", b"red"),
        ("x", b"1"),
        ("x", None),
    ]


def test_an_event_has_sensible_attributes_by_itself() -> None:
    event = topic(Item).event(Item("tea"), key="k")
    assert (event.source, event.type, event.subject, event.dataschema) == ("shop", "payloads", "k", "Item")
    assert uuid.UUID(event.id)
    assert event.time is not None and event.time.tzinfo is UTC


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"key": 1}, r"key must be a text or None, not 1\. Use str"),
        ({"key": b"1"}, "key must be a text"),
        ({"key": "\ud800"}, "half a character"),
        ({"id": ""}, "id is empty"),
        ({"id": "a\0b"}, "NUL"),
        ({"source": ""}, "source is empty"),
        ({"type": 5}, "type must be a text"),
        ({"time": "today"}, "time must be a datetime with time zone"),
        ({"time": datetime(2026, 1, 1)}, "time must be a datetime with time zone"),
        ({"extensions": {"Shade": "red"}}, "'Shade' is not the name of a CloudEvents extension"),
        ({"extensions": {"sequence": "1"}}, "'sequence' is not the name"),
        ({"extensions": {"shade": 1}}, "extension 'shade' must be a text"),
        ({"extensions": "shade"}, "extensions must be a mapping"),
        ({"headers": {"ce_id": "1"}}, "'ce_id' is written by django_events itself"),
        ({"headers": {"Content-Type": "x"}}, "is written by django_events itself"),
        ({"headers": {"": "x"}}, "not the name of a header"),
        ({"headers": {"x": 1}}, "header 'x' must be a text or None"),
        ({"headers": [("x",)]}, "headers must be a mapping or pairs"),
        ({"headers": 1}, "headers must be a mapping or pairs"),
    ],
)
def test_attributes_that_cannot_be_carried_are_refused(attributes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidEvent, match=reason):
        topic(Item).event(Item("tea"), **attributes)


@pytest.mark.parametrize(
    ("payload_type", "reason"),
    [
        (int, "int is not supported. Use a dataclass, a TypedDict"),
        (None, "None is not supported"),
        (Colour, "Colour is not supported"),
        (list[int], "list is not supported|is not supported"),
        (attrs.define(eq=False)(type("Unequal", (), {"__annotations__": {"a": int}})), "eq=False"),
        (attrs.make_class("Unseen", {"a": attrs.field(type=int, eq=False)}), r"leaves a out .* \(in attrs, eq=\)"),
        (attrs.make_class("Keyed", {"a": attrs.field(type=str, eq=str.lower)}), "leaves a out of comparisons"),
        (type("Missing", (pydantic.BaseModel,), {"__annotations__": {"a": "Nowhere"}}), "cannot be read by pydantic"),
        (dataclass(eq=False)(type("Unequal", (), {"__annotations__": {"a": int}})), "eq=False"),
        (dataclass(type("Unseen", (), {"__annotations__": {"a": int}, "a": field(compare=False)})), "compare=False"),
        (dataclass(type("Missing", (), {"__annotations__": {"a": "Nowhere"}})), "cannot be read from JSON"),
    ],
)
def test_payload_types_that_cannot_work_are_refused_at_the_declaration(payload_type: Any, reason: str) -> None:
    with pytest.raises(DeclarationError, match=reason):
        topic(payload_type)


def test_a_model_is_read_and_written_as_pydantic_does() -> None:
    assert topic(Model).event(Model(orderId=1)).data == (
        b'{"orderId":1,"lines":[],"at":"2026-01-01T00:00:00Z","weight":0.0}'
    )
    assert topic2(Checked).event(Checked(1)).dataschema == "Checked"


def test_what_pydantic_says_of_a_body_has_no_values_in_it() -> None:
    with pytest.raises(DecodeError, match=r"The body is not JSON of Line: Field required - at `\$\.name`") as refused:
        topic(Line).codec.decode(b'{"price":"%s"}' % SECRET.encode())
    assert SECRET not in "".join(traceback.format_exception(refused.value))


def test_nobody_needs_pydantic_or_attrs() -> None:
    code = (
        "import sys; sys.modules['pydantic'] = sys.modules['attrs'] = sys.modules['attr'] = None; "
        "from django.conf import settings; settings.configure(DJANGO_EVENTS={'SOURCE': 'x'}); "
        "from django_events import Topic; assert Topic('t', dict).event({'a': 1}).data == b'{\"a\":1}'"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_events_are_immutable() -> None:
    event: Event[Item] = topic(Item).event(Item("tea"), extensions={"a": "b"})
    with pytest.raises(AttributeError):
        event.id = "2"  # type: ignore[misc]
    with pytest.raises(TypeError):
        event.extensions["a"] = "c"  # type: ignore[index]
