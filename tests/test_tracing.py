"""One trace from the request to the last handler, by the SDK of OpenTelemetry; and nothing without it."""

import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.test import Client
from django.urls import path
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from django_events import Backoff, Batch, ConsumerGroup, Event, IgnoreError, OnFailure, Topic, tracing
from django_events.consuming.attempt import Attempt
from django_events.consuming.caller import Caller
from django_events.consuming.reading import read_event
from django_events.consuming.service import Service
from django_events.consuming.sharing import Sharing
from django_events.consuming.trying import Trial
from django_events.kafka import topics
from django_events.kafka.record import Partition, ReceivedRecord
from django_events.models import OutgoingEvent, lane_of
from django_events.producing.lanes import WaitingLanes
from django_events.producing.sender import Sender
from django_events.testing import saved_events, sending
from tests.broker import Broker
from tests.ledger.entries import make_entry
from tests.ledger.events import EntryMade, entry_closed, entry_made
from tests.letters import the_letter
from tests.processes import ROOT, Site
from tests.spans import Spans, header_of, id_of, links_of, parent_of, trace_of
from tests.waiting import wait_for

Consuming = Callable[..., AbstractContextManager[Service]]
Payload = dict[str, Any]

TOPIC = "traced"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-1af7651916cd43dd8448eb211c80319c-c7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """What this process traces in this test; no other test has a provider."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("django_events"))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return Spans(exporter, provider.get_tracer("tests"))


@pytest.fixture
def topic(declarations: None) -> Topic[Payload]:
    return Topic(TOPIC, Payload)


@pytest.fixture
def group(declarations: None) -> ConsumerGroup:
    return ConsumerGroup("tracers")


def saved_headers() -> list[dict[str, str]]:
    """The headers of the outbox's rows, oldest first."""
    rows = [msgspec.msgpack.decode(bytes(row.headers)) for row in saved_events()]
    return [{name: (value or b"").decode() for name, value in row} for row in rows]


def send(topic: Topic[Payload], **options: Any) -> Event[Payload]:
    with transaction.atomic():
        event = topic.event({"n": 1}, key="a", **options)
        topic.send_many([event])
        return event


# ── sending ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.django_db
def test_each_row_tells_of_the_span_in_which_its_event_was_sent(spans: Spans, topic: Topic[Payload]) -> None:
    with spans.tracer.start_as_current_span("GET /orders"), transaction.atomic():
        events = [topic.event({"n": n}, key="a") for n in (1, 2)]
        topic.send_many(events)
    *created, request = spans.all()
    assert [row["traceparent"] for row in saved_headers()] == [header_of(span) for span in created]
    assert [parent_of(span) for span in created] == [id_of(request)] * 2
    assert [event.headers for event in events] == [(), ()]
    first = created[0]
    assert (first.name, first.kind) == ("create traced", SpanKind.PRODUCER)
    assert dict(first.attributes or {}) == {
        "messaging.system.name": "kafka",
        "messaging.operation.name": "create",
        "messaging.operation.type": "create",
        "messaging.destination.name": "traced",
        "messaging.message.id": events[0].id,
    }


@pytest.mark.django_db
def test_a_trace_that_the_caller_names_wins(spans: Spans, topic: Topic[Payload]) -> None:
    with spans.tracer.start_as_current_span("GET /orders"):
        send(topic, headers={"Traceparent": PARENT, "x": "1"})
        send(topic, headers=[("tracestate", "a=b")])
    first, second = saved_headers()
    assert first["Traceparent"] == PARENT and "traceparent" not in first and "tracestate" not in first
    assert second["tracestate"] == "a=b" and "traceparent" not in second
    assert [span.name for span in spans.all()] == ["GET /orders"]


@pytest.mark.django_db
def test_state_and_baggage_travel_and_baggage_of_the_callers_own_stays(spans: Spans, topic: Topic[Payload]) -> None:
    remote = SpanContext(1, 2, True, TraceFlags(1), TraceState([("vendor", "x")]))
    here = baggage.set_baggage("tenant", "7", trace.set_span_in_context(NonRecordingSpan(remote)))
    token = context.attach(here)
    try:
        send(topic)
        send(topic, headers={"baggage": "own=1"})
    finally:
        context.detach(token)
    first, second = saved_headers()
    assert (first["tracestate"], first["baggage"]) == ("vendor=x", "tenant=7")
    assert second["baggage"] == "own=1"
    assert second["traceparent"] == header_of(spans.all("create traced")[1])


@pytest.mark.django_db
def test_a_trace_that_is_not_sampled_says_so_and_costs_no_spans(
    spans: Spans, topic: Topic[Payload], group: ConsumerGroup
) -> None:
    remote = SpanContext(1, 2, True, TraceFlags(0))
    with trace.use_span(NonRecordingSpan(remote)):
        send(topic)
    (headers,) = saved_headers()
    assert headers["traceparent"].startswith(f"00-{1:032x}-") and headers["traceparent"].endswith("-00")
    group.idempotent(topic, name="handle")(lambda event: None)
    attempt(group, received(1, headers["traceparent"]))
    assert spans.all() == []


@pytest.mark.django_db
def test_an_event_that_has_no_room_for_more_headers_is_sent_without(spans: Spans, declarations: None) -> None:
    narrow = Topic("narrow", Payload, max_bytes=2_000)
    sizes = range(900, 1_500)

    def fits(size: int) -> bool:
        with transaction.atomic():
            try:
                narrow.send({"filler": "x" * size})
            except ValueError:
                return False
        return True

    largest = max(size for size in sizes if fits(size))
    assert largest < sizes[-1]
    assert "traceparent" in saved_headers()[0]
    assert "traceparent" not in saved_headers()[-1]


# ── handling ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def received(number: int, traceparent: str | bytes | None) -> ReceivedRecord:
    headers: list[tuple[str, bytes | None]] = [("ce_id", b"i%d" % number), ("ce_source", b"s")]
    if traceparent is not None:
        value = traceparent if isinstance(traceparent, bytes) else traceparent.encode()
        headers.append(("traceparent", value))
    return ReceivedRecord(Partition(TOPIC, 0), number, None, b'{"n":%d}' % number, headers, None)


def attempt(group: ConsumerGroup, *records: ReceivedRecord) -> list[str]:
    """One attempt of the group's handler; what came of each."""
    (handler,) = group.handlers
    events = [read_event(handler, record, attempt=1) for record in records]
    return [type(outcome).__name__ for outcome in Attempt(Caller(handler), events).outcomes()]


@pytest.mark.django_db(transaction=True)
def test_an_attempt_is_a_span_in_the_trace_of_its_event_and_so_is_what_the_handler_sends(
    spans: Spans, topic: Topic[Payload], group: ConsumerGroup
) -> None:
    @group.exactly_once(topic)
    def forward(event: Event[Payload]) -> None:
        topic.send(event.payload)

    assert attempt(group, received(7, PARENT)) == ["Handled"]
    created, process = spans.all()
    assert (process.name, process.kind) == ("process traced", SpanKind.CONSUMER)
    assert (trace_of(process), parent_of(process)) == tuple(PARENT.split("-")[1:3])
    assert links_of(process) == [parent_of(process)]
    assert dict(process.attributes or {}) == {
        "messaging.system.name": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "traced",
        "messaging.destination.partition.id": "0",
        "messaging.consumer.group.name": "tracers",
        "messaging.message.id": "i7",
        "kafka.offset": 7,
        "django_events.handler": "forward",
        "django_events.attempt": 1,
        "django_events.outcome": "handled",
    }
    assert process.status.status_code is StatusCode.UNSET
    assert parent_of(created) == id_of(process)
    assert saved_headers()[0]["traceparent"] == header_of(created)
    assert attempt(group, received(7, PARENT)) == ["Duplicate"]
    assert (spans.all()[-1].attributes or {})["django_events.outcome"] == "duplicate"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("delivery", ["idempotent", "exactly_once"])
def test_the_call_with_an_event_in_no_trace_is_a_span_of_its_own(
    spans: Spans, topic: Topic[Payload], group: ConsumerGroup, delivery: str
) -> None:
    getattr(group, delivery)(topic, name="handle")(lambda event: None)
    Trial(group.handlers[0], [received(1, None)], 1, Sharing(), lambda at: True).outcomes()
    assert parent_of(spans.the("process traced")) is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("delivery", ["idempotent", "exactly_once"])
def test_where_nobody_makes_spans_a_handler_is_in_the_trace_of_its_event_all_the_same(
    topic: Topic[Payload], group: ConsumerGroup, delivery: str
) -> None:
    seen: list[str] = []

    def look(event: Event[Payload]) -> None:
        seen.append(f"{trace.get_current_span().get_span_context().trace_id:032x}")

    getattr(group, delivery)(topic)(look)
    for parent in (PARENT, None, OTHER):
        Trial(group.handlers[0], [received(len(seen), parent)], 1, Sharing(), lambda at: True).outcomes()
    assert seen == [PARENT.split("-")[1], "0" * 32, OTHER.split("-")[1]]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("redact", [[], ["secret"]])
def test_a_failure_is_told_and_leaves_nothing_behind_in_its_thread(
    spans: Spans, topic: Topic[Payload], group: ConsumerGroup, settings: Any, redact: list[str]
) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "REDACT": redact}

    @group.exactly_once(topic)
    def refuse(event: Event[Payload]) -> None:
        raise (ValueError if event.payload["n"] == 1 else IgnoreError)("the secret")

    for number, error in ((1, ValueError), (2, IgnoreError)):
        with pytest.raises(error):
            attempt(group, received(number, PARENT if number == 1 else None))
    failed, ignored = spans.all()
    assert (failed.attributes or {})["error.type"] == "ValueError"
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.status.description == (None if redact else "the secret")
    assert len(failed.events) == (0 if redact else 1)
    assert ignored.status.status_code is StatusCode.UNSET
    assert parent_of(ignored) is None and trace_of(ignored) != trace_of(failed)
    assert not trace.get_current_span().get_span_context().is_valid


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("wrong", [b"\xff\xfe", b"", b"00-0-0-01", b"garbage"])
def test_what_strangers_write_begins_a_trace_of_its_own(
    spans: Spans, topic: Topic[Payload], group: ConsumerGroup, wrong: bytes
) -> None:
    group.idempotent(topic, name="handle")(lambda event: None)
    assert attempt(group, received(1, wrong)) == ["Handled"]
    process = spans.the("process traced")
    assert parent_of(process) is None and links_of(process) == []


class WithCapitals(TraceContextTextMapPropagator):
    """Names its header as that of AWS X-Ray does."""

    _TRACEPARENT_HEADER_NAME = "X-Some-Trace"


def test_the_header_of_a_propagator_may_have_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propagate, "_HTTP_TEXT_FORMAT", WithCapitals())
    for name in ("X-Some-Trace", "x-some-trace"):
        assert tracing.is_told([(name, PARENT)])
        told = trace.get_current_span(tracing.origin_of([(name, PARENT.encode())])).get_span_context()
        assert f"{told.trace_id:032x}" == PARENT.split("-")[1]


@pytest.mark.django_db(transaction=True)
def test_a_batch_links_what_it_handles(spans: Spans, topic: Topic[Payload], group: ConsumerGroup) -> None:
    @group.exactly_once(topic, batch=Batch(size=10))
    def handle(events: list[Event[Payload]]) -> None:
        topic.send({"n": len(events)})

    attempt(group, received(1, PARENT), received(2, OTHER), received(3, None))
    created, process = spans.all()
    assert (process.name, process.kind, parent_of(process)) == ("process traced", SpanKind.CONSUMER, None)
    assert links_of(process) == [PARENT.split("-")[2], OTHER.split("-")[2]]
    assert (process.attributes or {})["messaging.batch.message_count"] == 3
    assert parent_of(created) == id_of(process)


@pytest.mark.django_db(transaction=True)
def test_events_that_share_a_transaction_stay_in_their_traces_and_are_linked_with_it(
    spans: Spans, topic: Topic[Payload], group: ConsumerGroup
) -> None:
    group.exactly_once(topic, name="handle")(lambda event: None)
    attempt(group, received(1, PARENT), received(2, OTHER))
    first, second, shared = spans.all()
    assert (shared.name, shared.kind, parent_of(shared)) == ("transaction traced", SpanKind.INTERNAL, None)
    assert links_of(shared) == [PARENT.split("-")[2], OTHER.split("-")[2]]
    for span, header in ((first, PARENT), (second, OTHER)):
        assert (trace_of(span), parent_of(span)) == tuple(header.split("-")[1:3])
        assert links_of(span) == [parent_of(span), id_of(shared)]


@pytest.mark.django_db(transaction=True)
def test_without_a_place_for_spans_what_a_handler_sends_is_in_the_trace_of_its_event(
    topic: Topic[Payload], group: ConsumerGroup
) -> None:
    @group.exactly_once(topic)
    def forward(event: Event[Payload]) -> None:
        topic.send(event.payload)

    attempt(group, received(1, PARENT), received(2, OTHER), received(3, None))
    attempt(group, received(4, PARENT))
    attempt(group, received(5, None))
    assert [headers.get("traceparent") for headers in saved_headers()] == [PARENT, OTHER, None, PARENT, None]


# ── the whole way ────────────────────────────────────────────────────────────────────────────────────────────────────


def entries(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"event": make_entry("ann").id})


@pytest.fixture
def instrumented(spans: Spans, settings: Any) -> Iterator[Client]:
    """Calls a view of a site whose requests OpenTelemetry's own instrumentation makes spans of."""
    settings.ROOT_URLCONF = (path("entries", entries),)
    settings.MIDDLEWARE = list(settings.MIDDLEWARE)  # it puts its own into the list
    instrumentor = DjangoInstrumentor()
    instrumentor.instrument()
    yield Client()
    instrumentor.uninstrument()


@pytest.mark.kafka
@pytest.mark.postgres
def test_one_trace_from_the_request_through_another_process_to_what_the_handler_sends(
    spans: Spans,
    site: Site,
    broker: Broker,
    declarations: None,
    consuming: Consuming,
    tmp_path: Path,
    instrumented: Client,
) -> None:
    topics.create_missing(["ledger.entry-made"], timeout=60)
    group = ConsumerGroup("way")

    @group.exactly_once(entry_made)
    def forward(event: Event[EntryMade]) -> None:
        entry_closed.send(event.payload, key=event.key)

    event_id = instrumented.post("/entries").json()["event"]
    request = spans.the("POST entries")
    file = tmp_path / "spans"
    traced = {"SPANS": str(file), "DJANGO_SETTINGS_MODULE": "tests.traced.settings"}

    def is_sent() -> bool:
        file.unlink(missing_ok=True)  # the spans of a try in vain
        return site.start("catchup", "--once", **traced).ends() == 0

    wait_for(is_sent)
    with consuming(group):
        wait_for(lambda: spans.all("process ledger.entry-made"))
    create, process = spans.the("create ledger.entry-made"), spans.the("process ledger.entry-made")
    (sent,) = map(json.loads, file.read_text().splitlines())
    assert (sent["name"], sent["kind"]) == ("send ledger.entry-made", "SpanKind.CLIENT")
    assert sent["attributes"]["messaging.message.id"] == event_id
    assert sent["parent_id"] == f"0x{id_of(create)}"
    assert sent["context"]["trace_id"] == f"0x{trace_of(request)}"
    assert (request.kind, parent_of(request), parent_of(create)) == (SpanKind.SERVER, None, id_of(request))
    assert parent_of(process) == id_of(create)
    assert parent_of(spans.the("create ledger.entry-closed")) == id_of(process)
    assert len({trace_of(span) for span in spans.all()}) == 1
    headers = {record.header("traceparent") for record in broker.read("ledger.entry-made")}
    assert headers == {header_of(create).encode()}


@pytest.mark.kafka
@pytest.mark.postgres
def test_an_event_that_kafka_refuses_is_a_failure_in_its_trace(
    spans: Spans, broker: Broker, topic: Topic[Payload], transactional_db: None, patient_sender: None
) -> None:
    broker.create(TOPIC, 1, max_message_bytes="200")
    with transaction.atomic():
        topic.send({"filler": "x" * 500}, key="a")
    (row,) = OutgoingEvent.objects.all()
    sender = Sender()
    sender.round(WaitingLanes([lane_of(row.topic, b"a", row.event_id)]), "default")
    sender.close()
    sent = spans.the("send traced")
    assert parent_of(sent) == id_of(spans.the("create traced"))
    assert (sent.attributes or {})["error.type"] == "refused"
    assert sent.status.status_code is StatusCode.ERROR


@pytest.mark.kafka
def test_send_now_is_a_span_that_links_what_it_sends(spans: Spans, broker: Broker, topic: Topic[Payload]) -> None:
    with sending(), spans.tracer.start_as_current_span("request"):
        topic.send_many_now([topic.event({"n": n}) for n in (1, 2)], timeout=60)
    first, second, sent, request = spans.all()
    assert (sent.name, sent.kind, parent_of(sent)) == ("send traced", SpanKind.CLIENT, id_of(request))
    assert links_of(sent) == [id_of(first), id_of(second)]
    headers = {record.header("traceparent") for record in broker.read(TOPIC)}
    assert headers == {header_of(first).encode(), header_of(second).encode()}


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_dead_letter_is_tried_again_in_the_trace_of_its_event(
    spans: Spans, broker: Broker, declarations: None, consuming: Consuming
) -> None:
    topics.create_missing(["ledger.entry-made"], timeout=60)
    group = ConsumerGroup("way")
    calls: list[int | None] = []

    @group.exactly_once(
        entry_made, on_failure=OnFailure.RETRY_LATER, retry=False, retry_later=Backoff(first=0.1, max=0.1)
    )
    def forward(event: Event[EntryMade]) -> None:
        calls.append(event.attempt)
        if len(calls) == 1:
            raise ValueError("no")
        entry_closed.send(event.payload)

    broker.put("ledger.entry-made", b'{"account":"a","number":1}', headers=[("traceparent", PARENT.encode())])
    with consuming(group):
        wait_for(lambda: len(spans.all("process ledger.entry-made")) == 2)
    assert the_letter().attempts
    first, second = spans.all("process ledger.entry-made")
    assert [parent_of(first), parent_of(second)] == [PARENT.split("-")[2]] * 2
    assert [(each.attributes or {})["django_events.attempt"] for each in (first, second)] == [1, 2]
    created = spans.the("create ledger.entry-closed")
    assert (trace_of(created), parent_of(created)) == (PARENT.split("-")[1], id_of(second))


# ── what fails, and what is not there ────────────────────────────────────────────────────────────────────────────────


class Broken:
    """A tracer, a span and a propagator that can do nothing."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")


class BrokenSpan(NonRecordingSpan):
    def __init__(self) -> None:
        super().__init__(SpanContext(1, 2, False, TraceFlags(1)))

    def set_attribute(self, *_: Any) -> None:
        raise RuntimeError("no set_attribute")

    set_attributes = set_status = record_exception = end = set_attribute  # type: ignore[assignment]


class BrokenLater:
    """A tracer whose spans can be opened, and nothing else."""

    def start_span(self, *_: Any, **__: Any) -> NonRecordingSpan:
        return BrokenSpan()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("tracer", [Broken(), BrokenLater()], ids=["at once", "later"])
@pytest.mark.parametrize("propagator", [Broken(), None], ids=["no propagator", "propagator"])
def test_a_tracer_that_fails_harms_nothing(
    spans: Spans,
    topic: Topic[Payload],
    group: ConsumerGroup,
    monkeypatch: pytest.MonkeyPatch,
    tracer: Any,
    propagator: Any,
) -> None:
    monkeypatch.setattr(tracing, "_tracer", tracer)
    if propagator:
        monkeypatch.setattr(tracing, "propagate", propagator)

    @group.exactly_once(topic)
    def handle(event: Event[Payload]) -> None:
        topic.send(event.payload)
        if event.payload["n"] == 2:
            raise ValueError("no")

    assert attempt(group, received(1, PARENT)) == ["Handled"]
    with pytest.raises(ValueError, match="no"):
        attempt(group, received(2, PARENT))
    assert attempt(group, received(3, PARENT), received(4, None)) == ["Handled"] * 2
    send(topic)
    assert OutgoingEvent.objects.count() == 4
    assert not trace.get_current_span().get_span_context().is_valid


@pytest.fixture
def deaf_collector(spans: Spans) -> Iterator[socket.socket]:
    """All spans go to a collector, too, that takes connections and never answers."""
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        exporter = OTLPSpanExporter(f"http://127.0.0.1:{server.getsockname()[1]}/v1/traces", timeout=600)
        batches = BatchSpanProcessor(exporter, max_queue_size=4, max_export_batch_size=2, schedule_delay_millis=1)
        provider.add_span_processor(batches)
        server.settimeout(60)
        yield server
        exporter.shutdown()  # type: ignore[no-untyped-call]
    batches.shutdown()  # type: ignore[no-untyped-call]


class Traceless:
    """A tracer of a disabled SDK with an old API: its spans belong to no trace."""

    def start_span(self, *_: Any, **__: Any) -> trace.Span:
        return trace.INVALID_SPAN


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("has_provider", [True, False])
def test_where_spans_belong_to_no_trace_traces_go_on(
    spans: Spans, topic: Topic[Payload], group: ConsumerGroup, monkeypatch: pytest.MonkeyPatch, has_provider: bool
) -> None:
    monkeypatch.setattr(tracing, "_tracer", Traceless())
    if not has_provider:
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)

    @group.exactly_once(topic)
    def forward(event: Event[Payload]) -> None:
        topic.send(event.payload)

    attempt(group, received(1, PARENT))
    attempt(group, received(2, OTHER), received(3, None))
    assert [headers.get("traceparent") for headers in saved_headers()] == [PARENT, OTHER, None]
    assert not trace.get_current_span().get_span_context().is_valid


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_collector_that_hangs_delays_nothing(
    deaf_collector: socket.socket,
    topic: Topic[Payload],
    group: ConsumerGroup,
    consuming: Consuming,
    transactional_db: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[int] = []

    @group.exactly_once(topic)
    def handle(event: Event[Payload]) -> None:
        seen.append(event.payload["n"])

    with sending(), consuming(group):
        for number in range(50):
            with transaction.atomic():
                topic.send({"n": number}, key="a")
        wait_for(lambda: len(seen) == 50)
        wait_for(lambda: not OutgoingEvent.objects.exists())
    assert seen == list(range(50))
    deaf_collector.accept()[0].close()  # it was asked
    lines = [record for record in caplog.records if record.name.startswith("opentelemetry.")]
    assert {line.levelname for line in lines} <= {"WARNING"}, caplog.text  # the SDK's own: it throws spans away


def test_what_fails_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    @tracing._harmless
    def fail() -> None:
        raise RuntimeError("no")

    with caplog.at_level(logging.ERROR, "django_events.tracing"):
        assert [fail(), fail()] == [None, None]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


USE = """
import sys, django
{block}
django.setup()
from django.core.management import load_command_class
import django_events.consuming.service, django_events.producing.relay
load_command_class("django_events", "consume")
from django_events import Topic
from django_events.producing.tracing import encode
from django_events import cloudevents
event = Topic("t", dict).event({{}})
assert encode(event) == cloudevents.encode(event)
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", **env}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def test_without_the_extra_nothing_of_it_is_imported_and_records_are_as_they_were() -> None:
    done = python(USE.format(block="sys.modules['opentelemetry'] = None"))
    assert done.stdout.strip() == "['opentelemetry']"  # the one that is blocked


def test_a_propagator_that_nobody_can_load_stops_no_process() -> None:
    done = python(USE.format(block=""), OTEL_PROPAGATORS="nonsense")
    assert "OpenTelemetry cannot be used, so nothing is traced" in done.stderr
