"""Latencies, and the percentiles that they are told in."""

from collections.abc import Mapping, Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


def steady(began: Mapping[str, float], ended: Mapping[str, float]) -> list[float]:
    """Seconds of each that began when the first one had ended: those before it have waited for processes to connect, of
    which another variant tells. All of them, if none began later."""
    ids = sorted(began.keys() & ended.keys(), key=lambda id: began[id])
    later = [id for id in ids if began[id] > ended[ids[0]]]
    return [ended[id] - began[id] for id in later or ids]
