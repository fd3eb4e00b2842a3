"""The trace of an event at a handler: each attempt is a span, a child of the one in which the event was sent.

So what the handler sends, and every further attempt, be it with a dead letter, is in the same trace.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django_events import tracing
from django_events.consuming.outcome import Outcome
from django_events.events import Event
from django_events.handlers import Handler


def traced(
    handler: Handler, events: Sequence[Event[Any]], attempt: Callable[[], list[Outcome]], *, with_spans: bool
) -> list[Outcome]:
    """Make the attempt inside of a span, or without one in the trace of its event. Returns and raises as the attempt.

    One event: the span is in its trace, and says what came of it. A batch: it begins a trace of its own, which links
    those of the events. Several that share a transaction: likewise, and each call has a span in its event's trace.
    """
    if not with_spans:
        within = _within(events[0]) if len(events) == 1 else None
        if within is None:
            return attempt()
        with within:
            return attempt()
    with _span_of_attempt(handler, events) as span:
        outcomes = attempt()
        if len(events) == 1:
            span.add({"django_events.outcome": type(outcomes[0]).__name__.lower()})
        return outcomes


def call_among(
    handler: Handler, event: Event[Any], all_events: Sequence[Event[Any]], *, with_spans: bool
) -> AbstractContextManager[object]:
    """Around the call of a handler with one of several events that share a transaction."""
    if len(all_events) == 1:
        return _NOTHING  # the attempt's span is that of the call
    if not with_spans:
        return _within(event) or _NOTHING
    return _process_one(handler, event, tracing.here())


_NOTHING = nullcontext()


def _within(event: Event[Any]) -> AbstractContextManager[object] | None:
    """In the event's trace, without a span of ours. None if it has none."""
    if not event.headers or not tracing.is_there:
        return None
    origin = tracing.origin_of(event.headers)
    return None if origin is None else tracing.Within(origin)


def _span_of_attempt(handler: Handler, events: Sequence[Event[Any]]) -> AbstractContextManager[tracing.Open]:
    if len(events) == 1:
        return _process_one(handler, events[0])
    if handler.calling.batch:
        return _of_several("process", "CONSUMER", handler, events)
    return _of_several("transaction", "INTERNAL", handler, events)


def _process_one(
    handler: Handler, event: Event[Any], shared: "tracing.Context | None" = None
) -> AbstractContextManager[tracing.Open]:
    """The span of a call with one event; ``shared`` is the context of the transaction that it shares with others."""
    attributes = _attributes("process", handler, [event]) | {"messaging.message.id": event.id}
    if event.partition is not None:
        attributes["messaging.destination.partition.id"] = str(event.partition)
    if event.offset is not None:
        attributes["kafka.offset"] = event.offset
    if event.attempt is not None:
        attributes["django_events.attempt"] = event.attempt
    if event.data is None:
        attributes["kafka.message.tombstone"] = True
    origin = tracing.origin_of(event.headers)
    within = tracing.nobody() if origin is None else origin
    return tracing.span(f"process {event.topic}", "CONSUMER", attributes, within=within, links=[origin, shared])


def _of_several(
    operation: str, kind: tracing.Kind, handler: Handler, events: Sequence[Event[Any]]
) -> AbstractContextManager[tracing.Open]:
    attributes = _attributes(operation, handler, events) | {"messaging.batch.message_count": len(events)}
    topic = attributes.get("messaging.destination.name")
    name = f"{operation} {topic}" if topic else operation
    origins = [tracing.origin_of(event.headers) for event in events]
    return tracing.span(name, kind, attributes, within=tracing.nobody(), links=origins)


def _attributes(operation: str, handler: Handler, events: Sequence[Event[Any]]) -> dict[str, str | int | bool]:
    attributes: dict[str, str | int | bool] = {
        "messaging.operation.name": operation,
        "django_events.handler": handler.name,
    }
    if operation == "process":
        attributes["messaging.operation.type"] = operation
    if handler.group:
        attributes["messaging.consumer.group.name"] = handler.group
    topics = {event.topic for event in events}
    if len(topics) == 1:
        attributes["messaging.destination.name"] = topics.pop()
    return attributes
