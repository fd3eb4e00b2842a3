"""The tests' settings in a process whose spans go to the file SPANS, one a line, as JSON."""

import os
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from tests.settings import *  # noqa: F403

_provider = TracerProvider()
_file = Path(os.environ["SPANS"]).open("a")  # noqa: SIM115 - open as long as the process
_exporter = ConsoleSpanExporter(out=_file, formatter=lambda span: span.to_json(indent=None) + "\n")
_provider.add_span_processor(SimpleSpanProcessor(_exporter))
trace.set_tracer_provider(_provider)
