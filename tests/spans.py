"""What a test sees of spans: those that the real SDK has finished in this process."""

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer


class Spans:
    """The finished spans, and a tracer for those of the test itself."""

    def __init__(self, exporter: InMemorySpanExporter, tracer: Tracer) -> None:
        self._exporter = exporter
        self.tracer = tracer

    def all(self, name: str = "") -> list[ReadableSpan]:
        """Those of this name, or all, in the order of their end."""
        return [span for span in self._exporter.get_finished_spans() if name in ("", span.name)]

    def the(self, name: str) -> ReadableSpan:
        """The only one of this name."""
        (span,) = self.all(name)
        return span


def trace_of(span: ReadableSpan) -> str:
    return f"{span.context.trace_id:032x}"


def id_of(span: ReadableSpan) -> str:
    return f"{span.context.span_id:016x}"


def parent_of(span: ReadableSpan) -> str | None:
    return f"{span.parent.span_id:016x}" if span.parent else None


def links_of(span: ReadableSpan) -> list[str]:
    return [f"{link.context.span_id:016x}" for link in span.links]


def header_of(span: ReadableSpan) -> str:
    """The ``traceparent`` that names this span (W3C Trace Context, section 3.2)."""
    return f"00-{trace_of(span)}-{id_of(span)}-{span.context.trace_flags:02x}"
