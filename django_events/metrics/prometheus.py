"""Metrics of Prometheus. Without prometheus_client (the extra ``prometheus``) they do nothing.

Nothing that counts raises, or waits for anybody but another thread that counts: an event is worth more than its count.
"""

import logging
import os
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

from django_events.harmless import harmless

logger = logging.getLogger("django_events.metrics")

try:
    import prometheus_client
    from prometheus_client import core, multiprocess
except ImportError:
    is_there = False
except Exception:
    logger.exception("Prometheus' client cannot be used, so nothing is counted")
    is_there = False
else:
    is_there = True
    """Whether prometheus_client is installed."""

MOST = 500
"""Series of one metric in one process, such as one for each topic. What comes after them, as with topics that are named
at run time, is counted together in one more."""

OTHER = "other"
"""The value of all labels of that one."""

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
"""The variable with which prometheus_client keeps the values of several processes in files."""

Kind: TypeAlias = Literal["counter", "gauge", "histogram", "reading"]
Together: TypeAlias = Literal["", "livesum", "livemax", "livemin"]

_harmless = harmless(logger, "Prometheus' client failed. Events go on without their metrics")

_counting = threading.RLock()
"""Held while a value is changed. A fork waits for it: no lock of the client's that counting takes is then taken in the
child for ever."""

if is_there:
    os.register_at_fork(before=_counting.acquire, after_in_parent=_counting.release, after_in_child=_counting.release)


class Series:
    """One metric with values of its labels. Thread-safe."""

    __slots__ = ("_child",)

    def __init__(self, child: Any) -> None:
        self._child = child

    @_harmless
    def add(self, amount: float = 1) -> None:
        """Of a counter: so many more."""
        with _counting:
            self._child.inc(amount)

    @_harmless
    def set(self, value: float) -> None:
        """Of a gauge: it is this now."""
        with _counting:
            self._child.set(value)

    @_harmless
    def observe(self, value: float) -> None:
        """Of a histogram: this was seen once more. Clocks of two machines may differ: less than nothing is nothing."""
        with _counting:
            self._child.observe(max(value, 0.0))

    @_harmless
    def observe_all(self, values: Sequence[float]) -> None:
        """Of a histogram: these were seen. Cheaper than one by one."""
        with _counting:
            if not _observe_by_bucket(self._child, values):
                for value in values:
                    self._child.observe(value)


def _observe_by_bucket(histogram: Any, values: Sequence[float]) -> bool:
    """What the histogram's ``observe`` does with each value, once for each bucket: beside short handlers the difference
    is a twentieth of all. False, with nothing done, for a histogram that is made of other parts than those we know."""
    try:
        total, buckets, bounds = histogram._sum, histogram._buckets, histogram._upper_bounds
    except AttributeError:
        return False
    total.inc(sum(values))
    for at, count in Counter(map(partial(bisect_left, bounds), values)).items():
        buckets[at].inc(count)
    return True


class _Nowhere(Series):
    """Where prometheus_client is not installed."""

    __slots__ = ()

    def __init__(self) -> None: ...
    def add(self, amount: float = 1) -> None: ...
    def set(self, value: float) -> None: ...
    def observe(self, value: float) -> None: ...
    def observe_all(self, values: Sequence[float]) -> None: ...


_NOWHERE = _Nowhere()


class Metric:
    """What is counted or measured, by some labels. Thread-safe."""

    def __init__(
        self,
        kind: Kind,
        name: str,
        text: str,
        labels: Sequence[str] = (),
        *,
        together: Together = "",
        buckets: Sequence[float] = (),
    ) -> None:
        """``name`` is as people see it in Prometheus. A "reading" is a gauge whose values are read when somebody asks.
        ``together``: what becomes of a gauge's values in several processes that have one page."""
        self.kind = kind
        self.name = name
        self.text = text
        self.labels = tuple(labels)
        self._series: dict[tuple[str, ...], Series] = {}
        self._family = _family(self, together, buckets) if is_there and kind != "reading" else None

    def of(self, *values: str) -> Series:
        """The series with these values of the labels. Cheap; also beyond the most that there may be."""
        return self._series.get(values) or self._make(values) or _NOWHERE

    @_harmless
    def _make(self, values: tuple[str, ...]) -> Series | None:
        if self._family is None:
            return None
        with _counting:
            if len(self._series) >= MOST and values not in self._series:
                values = (OTHER,) * len(self.labels)
            if values not in self._series:
                self._series[values] = Series(self._family.labels(*values))
            return self._series[values]

    @_harmless
    def forget(self, *values: str) -> None:
        """Take the series with these values away: what it tells is over. Where several processes have one page, which
        knows no such thing, it stays until this process ends."""
        with _counting:
            if self._family is not None and values in self._series and MULTIPROCESS not in os.environ:
                del self._series[values]
                self._family.remove(*values)


@_harmless
def _family(metric: Metric, together: Together, buckets: Sequence[float]) -> Any:
    if metric.kind == "counter":
        return prometheus_client.Counter(metric.name, metric.text, metric.labels)
    if metric.kind == "histogram":
        return prometheus_client.Histogram(metric.name, metric.text, metric.labels, buckets=buckets)
    return prometheus_client.Gauge(metric.name, metric.text, metric.labels, multiprocess_mode=together or "liveall")


# ── what others read ─────────────────────────────────────────────────────────────────────────────────────────────


class Reading(NamedTuple):
    """The value of a metric that is read when somebody asks."""

    metric: Metric
    labels: tuple[str, ...]
    value: float


class _Readings:
    """Has its values read when Prometheus asks."""

    def __init__(self, metrics: Sequence[Metric], read: Callable[[], Iterable[Reading]]) -> None:
        self._metrics = metrics
        self._read = read

    def describe(self) -> "Iterator[core.Metric]":
        """Their names. Asks nobody: it is called when the process begins."""
        for metric in self._metrics:
            yield core.GaugeMetricFamily(metric.name, metric.text, labels=metric.labels)

    def collect(self) -> "Iterator[core.Metric]":
        found = self._found() or []
        for metric in self._metrics:
            family = core.GaugeMetricFamily(metric.name, metric.text, labels=metric.labels)
            for reading in [reading for reading in found if reading.metric is metric][:MOST]:
                family.add_metric(reading.labels, reading.value)
            yield family

    @_harmless
    def _found(self) -> list[Reading]:
        return list(self._read())


_readings: list[_Readings] = []


@_harmless
def register(metrics: Sequence[Metric], read: Callable[[], Iterable[Reading]]) -> None:
    """Have these metrics read by this function whenever somebody asks. It must not wait for long."""
    if is_there:
        readings = _Readings(metrics, read)
        _readings.append(readings)
        prometheus_client.REGISTRY.register(readings)


def page() -> tuple[bytes, str]:
    """All metrics of this process as text, those of its site included, and the content type.

    With ``PROMETHEUS_MULTIPROC_DIR`` those of all processes that have the same directory, together; what is read when
    somebody asks, this process reads once for all. Raises ValueError where there is no such directory, and what
    collectors of the site's own do.
    """
    registry = prometheus_client.REGISTRY
    if MULTIPROCESS in os.environ:
        registry = prometheus_client.CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        for each in _readings:
            registry.register(each)
    return prometheus_client.generate_latest(registry), prometheus_client.CONTENT_TYPE_LATEST


def serve(port: int, address: str) -> None:
    """Answer with the metrics of this process, in daemon threads, as long as it lives. Raises OSError, and for a port
    or an address that cannot be, OverflowError or UnicodeError."""
    prometheus_client.start_http_server(port, address)
