"""What type checkers know of the API. mypy reads this file; nothing runs it."""

from dataclasses import dataclass
from typing import Any, TypedDict, assert_type

import msgspec

from django_events import ConsumerGroup, Event, Topic


@dataclass
class Placed:
    order_id: int


class Mapped(TypedDict):
    order_id: int


class Struct(msgspec.Struct):
    order_id: int


placed = Topic("placed", Placed)
mapped = Topic("mapped", Mapped)
struct = Topic("struct", Struct)
anything = Topic("anything", dict[str, Any])
group = ConsumerGroup("group")

assert_type(placed, Topic[Placed])
assert_type(placed.send(Placed(1), key="1"), Event[Placed])
assert_type(placed.event(Placed(1)).payload, Placed)
assert_type(mapped.event({"order_id": 1}).payload, Mapped)
assert_type(anything.event({"a": 1}).payload["a"], Any)
placed.send_many([placed.event(Placed(1), key="1", headers={"a": None}, extensions={"b": "c"})])

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


@group.exactly_once(placed)  # type: ignore[arg-type]
def wrong_payload(event: Event[Struct]) -> None: ...


@group.idempotent(placed)  # type: ignore[arg-type]
async def nobody_awaits(event: Event[Placed]) -> None: ...


@group.exactly_once("placed")  # type: ignore[call-overload, untyped-decorator]
def not_a_topic(event: Event[Placed]) -> None: ...
