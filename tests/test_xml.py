"""XMLCodec: what it writes, what it reads of others, and what it refuses."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypedDict

import attrs
import msgspec
import pytest

from django_events import DeclarationError, DecodeError, EncodingError, Topic, XMLCodec, cloudevents
from django_events.codecs import codec as codecs


@dataclass(frozen=True)
class Line:
    sku: str
    count: int = 1


@dataclass(frozen=True)
class Order:
    id: int
    paid: bool
    total: Decimal
    at: datetime
    note: str | None = None
    lines: list[Line] = field(default_factory=list)
    tags: tuple[str, ...] = ()
    ship_to: Line | None = None
    prices: dict[str, float] = field(default_factory=dict)


@attrs.frozen
class Short:
    a: int


class Structured(msgspec.Struct, frozen=True):
    a: int = msgspec.field(name="A")


@dataclass
class Unknown:
    a: "Nowhere"  # type: ignore[name-defined]  # noqa: F821


class Typed(TypedDict):
    a: list[int]


ORDER = Order(
    id=7,
    paid=True,
    total=Decimal("9.50"),
    at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    note="tea & <milk> ☕",
    lines=[Line("a", 2)],
    tags=("x", ""),
    ship_to=Line("b"),
    prices={"eur": 1.5},
)
WRITTEN = (
    "<?xml version='1.0' encoding='utf-8'?>\n"
    "<Order><id>7</id><paid>true</paid><total>9.50</total><at>2026-01-02T03:04:05Z</at>"
    "<note>tea &amp; &lt;milk&gt; ☕</note><lines><sku>a</sku><count>2</count></lines><tags>x</tags><tags />"
    "<ship_to><sku>b</sku><count>1</count></ship_to><prices><eur>1.5</eur></prices></Order>"
).encode()


@pytest.fixture
def codec() -> XMLCodec[Order]:
    return XMLCodec(Order)


def test_what_is_written_byte_for_byte_and_read_again(codec: XMLCodec[Order]) -> None:
    assert codec.encode(ORDER) == WRITTEN
    assert codec.decode(WRITTEN) == ORDER
    least = Order(1, paid=False, total=Decimal(0), at=ORDER.at)
    assert codec.decode(codec.encode(least)) == least


@pytest.mark.parametrize(
    ("kind", "payload", "body"),
    [
        (Short, Short(1), b"<Short><a>1</a></Short>"),
        (Structured, Structured(1), b"<Structured><A>1</A></Structured>"),
        (Typed, {"a": [1, 2]}, b"<Typed><a>1</a><a>2</a></Typed>"),
        (Typed, {"a": []}, b"<Typed />"),
    ],
)
def test_all_kinds_of_types_with_fields(kind: Any, payload: Any, body: bytes) -> None:
    codec: XMLCodec[Any] = XMLCodec(kind)
    assert codec.encode(payload).partition(b"\n")[2] == body
    assert codec.decode(body) == payload


def test_what_others_write_is_read_in_their_order_namespace_and_encoding(codec: XMLCodec[Order]) -> None:
    body = (
        '<?xml version="1.0" encoding="ISO-8859-1"?><!-- ours --><o:order xmlns:o="urn:o" id="7">'
        "<o:total>1</o:total><surprise><x/></surprise>\n <at>2026-01-02T03:04:05Z</at><note>café</note>"
        '<lines sku="a"/><paid>1</paid></o:order>'
    ).encode("latin-1")
    assert codec.decode(body) == Order(7, True, Decimal(1), ORDER.at, "café", [Line("a")])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "no element found"),
        (b"<Order>", "no element found"),
        (b"\xff", "unclosed token"),
        (b"<Line/>", "missing required field `sku`"),
        (b"<Line><sku>a</sku><count>x</count></Line>", r"Expected `int`, got `str` - at `\$\.count`"),
        (b"<Line><sku>a</sku><sku>b</sku></Line>", "has 2 elements <sku> where one is expected"),
        (b"<Line><sku><b/></sku></Line>", "<sku> has elements where a single value is expected"),
        (b'<!DOCTYPE x [<!ENTITY a "aaa"><!ENTITY b "&a;&a;">]><Line><sku>&b;</sku></Line>', "it has a DOCTYPE"),
        (b"<?xml version='1.0' encoding='nonsense'?><Line/>", "unknown encoding"),
        (b"<a>" * 100_000, "no element found"),
    ],
)
def test_what_does_not_fit_is_a_decode_error(body: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=f"The body is not XML of Line: .*{reason}"):
        codecs.decode(XMLCodec(Line), body)


@pytest.mark.parametrize(
    "payload",
    [Line("\0"), Line("a\rb"), Line(sku=5), Line("\ud800")],  # type: ignore[arg-type]
)
def test_what_would_not_arrive_as_it_was_sent_is_refused(payload: Line, declarations: None) -> None:
    with pytest.raises(EncodingError):
        Topic("lines", Line, codec=XMLCodec(Line)).event(payload)


def test_a_payload_type_needs_fields() -> None:
    for kind in (str, dict, list[int]):
        with pytest.raises(DeclarationError, match="has no fields to make elements of"):
            XMLCodec(kind)
    with pytest.raises(DeclarationError, match="cannot be read from XML"):
        XMLCodec(Unknown)


def test_a_topic_may_be_declared_twice_with_equal_codecs_and_has_the_content_type(declarations: None) -> None:
    Topic("lines", Line, codec=XMLCodec(Line))
    topic = Topic("lines", Line, codec=XMLCodec(Line))
    assert ("content-type", b"application/xml") in cloudevents.encode(topic.event(Line("a"))).headers
    with pytest.raises(DeclarationError, match="declared twice"):
        Topic("lines", Line, codec=XMLCodec(Line, root="line"))


def test_all_kinds_of_xml_are_one() -> None:
    assert all(
        cloudevents.fits(kind, "application/xml") for kind in ("text/xml; charset=utf-8", "application/order+xml", None)
    )
    assert not cloudevents.fits("application/json", "application/xml")
