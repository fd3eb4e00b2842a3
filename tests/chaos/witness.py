"""Takes from the product what it knows: by its signals, and from outside of what has none."""

import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django_events import Event, handlers, signals
from django_events.handlers import Delivery
from django_events.kafka.consumer import Consumer
from django_events.kafka.producer import Deliveries, Producer
from django_events.kafka.record import Partition, Record
from tests.chaos.facts import Acknowledged, Committed, Declared, Handled, OffsetsCommitted, Place, Sending, Sent
from tests.chaos.history import note
from tests.chaos.standstills import watch_the_clock

_transactions: dict[tuple[str, str], str] = {}
"""The last transaction of each handler and event that sends a further event."""


def watch() -> None:
    """Note the site's handlers, and from now on what the product does in this process, and when it stands still."""
    watch_the_clock()
    note(*_declarations())
    signals.event_sent.connect(_note_sent)
    signals.event_handled.connect(_note_handled)
    Producer.send = _noting_sending(Producer.send)  # type: ignore[method-assign, assignment]
    Consumer.commit = _noting_offsets(Consumer.commit)  # type: ignore[method-assign]


def _declarations() -> list[Declared]:
    return [
        Declared(
            handler=str(handler),
            topics=tuple(topic.name for topic in handler.topics),
            exactly_once=handler.delivery is Delivery.EXACTLY_ONCE,
        )
        for group in handlers.declared()
        for handler in group.handlers
    ]


def name_of(event: Event[Any]) -> str:
    """The handler that has the event, as histories call it."""
    return f"{event.group}/{event.handler}"


def place_of(event: Event[Any]) -> Place:
    """Where the event came from."""
    assert event.partition is not None and event.offset is not None
    return event.topic, event.partition, event.offset


def is_letter(topic: str) -> bool:
    """Whether it is a topic of dead letters."""
    return topic.endswith(".dead-letter")


def transaction_of(event: Event[Any]) -> str:
    """A new name for the transaction in which the event is being handled; its commit will be noted."""
    name = _transactions[name_of(event), event.id] = uuid.uuid4().hex[:12]
    return name


def _note_sent(event_id: str, **_: object) -> None:
    note(Sent(event=event_id, thread=threading.current_thread().name))


def _note_handled(event: Event[Any], **_: object) -> None:
    note(Handled(handler=name_of(event), event=event.id, place=place_of(event)))
    if transaction := _transactions.pop((name_of(event), event.id), None):
        note(Committed(transaction=transaction))


_Send = Callable[[Producer, Iterable[tuple[int, Record]], float], Deliveries]


def _noting_sending(send: _Send) -> _Send:
    def noting(self: Producer, records: Iterable[tuple[int, Record]], timeout: float) -> Deliveries:
        records = list(records)
        ids = {token: _event_id(record) for token, record in records if not is_letter(record.topic)}
        if ids:
            note(Sending(events=tuple(ids.values()), thread=threading.current_thread().name))
        deliveries = send(self, records, timeout)
        if told := tuple(ids[token] for token in deliveries.acknowledged if token in ids):
            note(Acknowledged(events=told))
        return deliveries

    return noting


def _noting_offsets(commit: Callable[..., None]) -> Callable[..., None]:
    def noting(self: Consumer, offsets: Mapping[Partition, int], *, wait: bool) -> None:
        places = tuple((partition.topic, partition.number, offset) for partition, offset in offsets.items())
        note(OffsetsCommitted(group=self._group, offsets=places))
        commit(self, offsets, wait=wait)

    return noting


def _event_id(record: Record) -> str:
    return (dict(record.headers)["ce_id"] or b"").decode()
