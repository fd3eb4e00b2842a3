"""What type checkers know of the API. mypy reads this file; nothing runs it."""

from dataclasses import dataclass
from typing import Any, TypedDict, assert_type

import attrs
import msgspec
import pydantic

from django_events import Codec, ConsumerGroup, Event, Topic


@dataclass
class Placed:
    order_id: int


class Mapped(TypedDict):
    order_id: int


class Struct(msgspec.Struct):
    order_id: int


class Model(pydantic.BaseModel):
    order_id: int


@attrs.define
class Attrs:
    order_id: int


class Raw:
    content_type = "application/octet-stream"

    def encode(self, payload: bytes) -> bytes:
        return payload

    def decode(self, data: bytes) -> bytes:
        return data


placed = Topic("placed", Placed)
mapped = Topic("mapped", Mapped)
struct = Topic("struct", Struct)
anything = Topic("anything", dict[str, Any])
model = Topic("model", Model)
of_attrs = Topic("attrs", Attrs)
raw = Topic("raw", bytes, codec=Raw())
kept = Topic("kept", Placed, compacted=True)
kept_raw = Topic("kept-raw", bytes, codec=Raw(), compacted=True)
group = ConsumerGroup("group")

assert_type(placed, Topic[Placed])
assert_type(placed.send(Placed(1), key="1"), Event[Placed])
assert_type(placed.event(Placed(1)).payload, Placed)
assert_type(mapped.event({"order_id": 1}).payload, Mapped)
assert_type(anything.event({"a": 1}).payload["a"], Any)
placed.send_many([placed.event(Placed(1), key="1", headers={"a": None}, extensions={"b": "c"})])

assert_type(model.event(Model(order_id=1)).payload, Model)
assert_type(of_attrs.event(Attrs(1)).payload, Attrs)
assert_type(raw.send(b""), Event[bytes])
assert_type(kept, Topic[Placed | None])
assert_type(kept_raw, Topic[bytes | None])
assert_type(kept.send_tombstone("1"), Event[Placed | None])
assert_type(placed.send_now(Placed(1), timeout=5), Event[Placed])
placed.send_many_now([placed.event(Placed(1))])
codec: Codec[bytes] = Raw()


async def awaited() -> None:
    assert_type(await placed.asend(Placed(1), key="1"), Event[Placed])
    assert_type(await placed.asend_now(Placed(1), key="1"), Event[Placed])
    await placed.asend_many([placed.event(Placed(1))])
    await placed.asend(Struct(1))  # type: ignore[arg-type]


Topic("raw", str, codec=Raw())  # type: ignore[misc]
Topic("raw", bytes, codec=b"")  # type: ignore[call-overload]
placed.send(Struct(1))  # type: ignore[arg-type]
placed.send(Placed(1), key=1)  # type: ignore[arg-type]
mapped.send({"order": 1})  # type: ignore[typeddict-item]
placed.send_many([mapped.event({"order_id": 1})])  # type: ignore[list-item]


@group.exactly_once(placed)
def one(event: Event[Placed]) -> None:
    assert_type(event.payload.order_id, int)


@group.idempotent(placed, struct, name="both")
def two(event: Event[Placed | Struct]) -> None:
    assert_type(event.payload, Placed | Struct)


one(placed.event(Placed(1)))  # a plain function


@group.exactly_once(kept)
def follow(event: Event[Placed | None]) -> None:
    if event.payload is not None:
        assert_type(event.payload, Placed)


@group.exactly_once(kept)  # type: ignore[arg-type]
def forgets_tombstones(event: Event[Placed]) -> None: ...


@group.exactly_once(placed)  # type: ignore[arg-type]
def wrong_payload(event: Event[Struct]) -> None: ...


@group.idempotent(placed)  # type: ignore[arg-type]
async def nobody_awaits(event: Event[Placed]) -> None: ...


@group.exactly_once("placed")  # type: ignore[call-overload, untyped-decorator]
def not_a_topic(event: Event[Placed]) -> None: ...
