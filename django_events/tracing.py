"""Spans and trace contexts of OpenTelemetry. Without opentelemetry-api (the extra ``opentelemetry``) they do nothing.

Names follow the semantic conventions for messaging, version 1.45. Nothing here raises, whatever tracers, samplers,
propagators and exporters do: an event is worth more than its trace. But ask ``is_there`` before ``is_recorded``,
``nobody`` and ``here``, which only read, and before ``origin_of``.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from django_events.conf import settings
from django_events.exceptions import IgnoreError
from django_events.failures import name_of
from django_events.harmless import harmless

if TYPE_CHECKING:
    from opentelemetry.context import Context as Context
    from opentelemetry.trace import Link, Span

logger = logging.getLogger("django_events.tracing")

SCHEMA = "https://opentelemetry.io/schemas/1.45.0"
"""Tells readers of the spans which names they have."""

try:
    from opentelemetry import context, propagate, trace

    _tracer = trace.get_tracer("django_events", schema_url=SCHEMA)
except ImportError:
    is_there = False
except Exception:  # a propagator or provider that the environment names and nobody can load
    logger.exception("OpenTelemetry cannot be used, so nothing is traced")
    is_there = False
else:
    is_there = True
    """Whether opentelemetry-api is installed."""

Kind: TypeAlias = Literal["PRODUCER", "CLIENT", "CONSUMER", "INTERNAL"]
Attributes: TypeAlias = Mapping[str, str | int | bool]
Headers: TypeAlias = Iterable[tuple[str, str | bytes | None]]

BAGGAGE = "baggage"
"""The header that says nothing of a trace, so that it may be given without one."""

_harmless = harmless(logger, "OpenTelemetry failed. Events go on without their traces")


# ── contexts and headers ─────────────────────────────────────────────────────────────────────────────────────────


class _AnyCase:
    """Finds a header among such with names in lower case, as a ``Getter`` of propagators: some write with capitals."""

    def get(self, carrier: Mapping[str, str], key: str) -> list[str] | None:
        value = carrier.get(key.lower())
        return None if value is None else [value]

    def keys(self, carrier: Mapping[str, str]) -> list[str]:
        return list(carrier)


_ANY_CASE: Any = _AnyCase()


@_harmless
def origin_of(headers: Headers) -> "Context | None":
    """What these headers say of the trace that their event belongs to, and its baggage; None if they say nothing.

    Of headers that repeat the first one counts, and case does not. Nothing of the calling thread's context is in it.
    """
    carrier: dict[str, str] = {}
    for name, value in headers:
        if value is not None:
            carrier.setdefault(name.lower(), value.decode("utf-8", "replace") if isinstance(value, bytes) else value)
    return propagate.extract(carrier, context.Context(), _ANY_CASE) or None


@_harmless
def carried(besides: Headers) -> list[tuple[str, str]]:
    """The headers that tell others of the current span and baggage, without those of a name that is there already."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    names = {name.lower() for name, _ in besides}
    added = [(name, value) for name, value in carrier.items() if name.lower() not in names]
    for name, value in added:
        name.encode(), value.encode()  # what cannot be sent fails here and not in the caller's transaction
    return added


@_harmless
def is_told(headers: Headers) -> bool:
    """Whether these headers name a trace already, in whatever form the site's propagators know."""
    names = {name.lower() for name in propagate.get_global_textmap().fields} - {BAGGAGE}
    return not names.isdisjoint(name.lower() for name, _ in headers)


def is_recorded(origin: "Context | None") -> bool:
    """Whether the trace of this origin is one that somebody records: then its spans are worth their time."""
    return origin is not None and trace.get_current_span(origin).get_span_context().trace_flags.sampled


@_harmless
def has_provider() -> bool:
    """Whether the site has set up where spans go to. Without, spans would cost time and be thrown away."""
    if not is_there:
        return False
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider | trace.NoOpTracerProvider)


# ── spans ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Open:
    """A span that is the current one of its thread, or None in its place if it could not be opened."""

    def __init__(self, begun: "tuple[Span, object | None] | None") -> None:
        self._begun = begun

    @_harmless
    def add(self, attributes: Attributes) -> None:
        """What is known only now."""
        if self._begun:
            self._begun[0].set_attributes(attributes)

    @_harmless
    def failed(self, error: BaseException) -> None:
        """What is being done has raised this. To pass over an event is no failure."""
        if self._begun and not isinstance(error, IgnoreError):
            _note_failure(self._begun[0], error)

    @_harmless
    def leave(self) -> None:
        """The span before it is the current one again."""
        if self._begun and self._begun[1] is not None:
            context.detach(self._begun[1])  # type: ignore[arg-type]

    @_harmless
    def end(self) -> None:
        if self._begun:
            self._begun[0].end()


@contextmanager
def span(
    name: str,
    kind: Kind,
    attributes: Attributes,
    *,
    within: "Context | None" = None,
    links: "Sequence[Context | None]" = (),
) -> Iterator[Open]:
    """Inside, this span is the current one. What is raised inside is noted in it, and raised.

    ``within`` is the context of its parent; None: the current one. It is linked with the spans of ``links``. Where
    nobody makes spans, that context is the current one: its trace goes on.
    """
    opened = Open(_begin(name, kind, attributes, within, links))
    try:
        yield opened
    except BaseException as error:
        opened.failed(error)
        raise
    finally:
        opened.leave()
        opened.end()


class Within:
    """Inside, this is the current context: for a site that has set up no place for spans, where one would be thrown
    away. What is sent inside is in the trace all the same."""

    def __init__(self, origin: "Context") -> None:
        self._origin = origin
        self._token: object = None

    @_harmless
    def __enter__(self) -> None:
        self._token = context.attach(self._origin)

    @_harmless
    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            context.detach(self._token)  # type: ignore[arg-type]


@_harmless
def past_span(
    name: str, kind: Kind, attributes: Attributes, *, within: "Context", began: int, ended: int, error: str | None
) -> None:
    """A span of what is over, linked with its parent. Moments are nanoseconds since 1970; ``error``: why it failed."""
    span = _start(name, kind, attributes, within, [within], began)
    if error is not None:
        span.set_status(trace.StatusCode.ERROR, error)
    span.end(ended)


def nobody() -> "Context":
    """The context in which a new trace begins."""
    return context.Context()


def here() -> "Context":
    """The context of the current span."""
    return context.get_current()


@_harmless
def _begin(
    name: str, kind: Kind, attributes: Attributes, within: "Context | None", links: "Sequence[Context | None]"
) -> "tuple[Span, object | None]":
    begun = _start(name, kind, attributes, within, links) if has_provider() else trace.INVALID_SPAN
    # An SDK that is disabled, and old versions of the API, make spans that belong to no trace.
    around = trace.set_span_in_context(begun, within) if begun.get_span_context().is_valid else within
    return begun, None if around is None else context.attach(around)


def _start(
    name: str,
    kind: Kind,
    attributes: Attributes,
    within: "Context | None",
    links: "Sequence[Context | None]",
    began: int | None = None,
) -> "Span":
    return _tracer.start_span(
        name,
        context=within,
        kind=trace.SpanKind[kind],
        attributes={"messaging.system.name": "kafka", **attributes},
        links=list(_links(links)),
        start_time=began,
    )


def _links(origins: "Sequence[Context | None]") -> "Iterator[Link]":
    for origin in origins:
        there = trace.get_current_span(origin).get_span_context() if origin is not None else trace.INVALID_SPAN_CONTEXT
        if there.is_valid:
            yield trace.Link(there)


def _note_failure(span: "Span", error: BaseException) -> None:
    """With the setting REDACT no text of the error: it may hold what is hidden."""
    span.set_attribute("error.type", name_of(type(error)))
    if settings.REDACT:
        span.set_status(trace.StatusCode.ERROR)
    else:
        span.set_status(trace.StatusCode.ERROR, str(error))
        span.record_exception(error)
