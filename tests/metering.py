"""What Prometheus would read, of this process or of a page."""

import urllib.request
from collections.abc import Iterator

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from django_events.metrics import Metric


def value(metric: Metric, *labels: str, part: str = "") -> float:
    """The value of this series in this process; ``part`` is ``_count`` or ``_sum`` of a histogram. 0 if it has none."""
    return known_value(metric, *labels, part=part) or 0.0


def known_value(metric: Metric, *labels: str, part: str = "") -> float | None:
    """The same; None if there is no such series."""
    return REGISTRY.get_sample_value(metric.name + part, dict(zip(metric.labels, labels, strict=True)))


def gauges(label: str, value: str) -> set[str]:
    """The names of the gauges of this process that have a series with this value of the label."""
    families = [family for family in REGISTRY.collect() if family.type == "gauge"]
    return {sample.name for family in families for sample in family.samples if sample.labels.get(label) == value}


def read(port: int, path: str = "metrics") -> str:
    """The page of a process on this port."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=120) as answer:
        text: bytes = answer.read()
    return text.decode()


def values(page: str, metric: Metric) -> list[float]:
    """The values of all series of this metric on a page."""
    return [value for name, value in _samples(page) if name == metric.name]


def names(page: str) -> set[str]:
    """The names of all samples on a page."""
    return {name for name, _ in _samples(page)}


def _samples(page: str) -> Iterator[tuple[str, float]]:
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            yield sample.name, sample.value
