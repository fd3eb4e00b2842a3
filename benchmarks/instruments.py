"""What watches the product in the processes of a run: nothing, its metrics, or metrics and all or some spans."""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExportResult

VARIABLE = "BENCHMARK_INSTRUMENTS"
"""The environment variable that says which; without it, what is installed is used as in any site: metrics."""

NOTHING, METRICS, SPANS = "nothing", "metrics", "metrics and spans"
SAMPLED = "metrics and 1 trace of 100"


def set_up() -> None:
    """Before Django is set up, and the product imported."""
    match os.environ.get(VARIABLE, METRICS):
        case "nothing":
            _hide("prometheus_client", "opentelemetry")
        case "metrics and spans":
            _trace(1.0)
        case "metrics and 1 trace of 100":
            _trace(0.01)


def _hide(*packages: str) -> None:
    """As if these were not installed."""
    for package in packages:
        sys.modules[package] = None  # type: ignore[assignment]


def _trace(share: float) -> None:
    """This share of traces is recorded, and exported to nobody."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    class Dropping(SpanExporter):
        def export(self, spans: "Sequence[ReadableSpan]") -> "SpanExportResult":
            return SpanExportResult.SUCCESS

    provider = TracerProvider(sampler=ParentBasedTraceIdRatio(share))
    provider.add_span_processor(BatchSpanProcessor(Dropping()))
    trace.set_tracer_provider(provider)
