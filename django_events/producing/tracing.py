"""The trace of an event that goes out: it travels in the event's headers, whoever sends it."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from msgspec import structs

from django_events import cloudevents, tracing
from django_events.events import Event
from django_events.exceptions import EventTooLarge
from django_events.kafka.record import Record
from django_events.models import WaitingRow
from django_events.producing.courier import Sending

REFUSED = "refused"
"""What ``error.type`` says of an event that Kafka refuses for itself."""


def encode(event: Event[Any]) -> Record:
    """The event as a record that tells of a span "create", in which it was sent. Raises as ``cloudevents.encode``.

    An event whose headers name a trace is sent as it is; so is one that has no room for more headers.
    """
    if not tracing.is_there or tracing.is_told(event.headers):
        return cloudevents.encode(event)
    with tracing.span(f"create {event.topic}", "PRODUCER", _attributes("create", event.topic, event.id)):
        added = tracing.carried(event.headers)
        if added:
            try:
                return cloudevents.encode(structs.replace(event, headers=(*event.headers, *added)))
            except EventTooLarge:
                pass  # perhaps by what was added
        return cloudevents.encode(event)


def sending(records: Sequence[Record]) -> AbstractContextManager[object]:
    """Around a call that sends records: a span "send", linked with those in which they were created."""
    if not tracing.has_provider():
        return nullcontext()
    topics = {record.topic for record in records}
    topic = topics.pop() if len(topics) == 1 else None
    attributes = _attributes("send", topic)
    if len(records) > 1:
        attributes["messaging.batch.message_count"] = len(records)
    origins = [tracing.origin_of(record.headers) for record in records]
    return tracing.span(f"send {topic}" if topic else "send", "CLIENT", attributes, links=origins)


def round_done(rows: Sequence[WaitingRow], sending: Sending, began: int) -> None:
    """A span "send" in the trace of each row that a round is done with, if somebody records that trace.

    ``began``: when the round did, in nanoseconds since 1970. Call it after the commit: exporters may take their time.
    """
    if not rows or not tracing.is_there or not tracing.has_provider():
        return
    ended = time.time_ns()
    acknowledged = set(sending.acknowledged)
    for row in rows:
        if row.id in acknowledged or row.id in sending.refused:
            _tell_sent(row, sending.refused.get(row.id), began, ended)


def _tell_sent(row: WaitingRow, refusal: str | None, began: int, ended: int) -> None:
    try:
        origin = tracing.origin_of(row.record_headers)
    except ValueError:  # it is set aside because they cannot be read
        return
    if origin is None or not tracing.is_recorded(origin):
        return
    attributes = _attributes("send", row.topic, row.event_id)
    if refusal is not None:
        attributes["error.type"] = REFUSED
    tracing.past_span(f"send {row.topic}", "CLIENT", attributes, within=origin, began=began, ended=ended, error=refusal)


def _attributes(operation: str, topic: str | None, event_id: str | None = None) -> dict[str, str | int | bool]:
    attributes: dict[str, str | int | bool] = {
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }
    if topic is not None:
        attributes["messaging.destination.name"] = topic
    if event_id is not None:
        attributes["messaging.message.id"] = event_id
    return attributes
