"""The way of each order's event, put together from the journal."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Way:
    """What became of one event. Times are seconds since 1970."""

    order: int
    saved: float
    sent: float | None = None
    sender: str = ""
    """The process that sent it."""
    handled: dict[str, list[float]] = field(default_factory=dict)
    """By handler, each time that it took effect."""

    def has_arrived_at(self, handlers: Iterable[str]) -> bool:
        return self.sent is not None and all(handler in self.handled for handler in handlers)

    def __str__(self) -> str:
        steps = ["saved", f"sent {self._after(self.sent or self.saved)}{' by catchup' * (self.sender == 'catchup')}"]
        steps += [f"{handler} {self._after(times[0])}" for handler, times in sorted(self.handled.items())]
        return f"order {self.order:<4} {' → '.join(steps)}"

    def _after(self, moment: float) -> str:
        return f"{(moment - self.saved) * 1000:,.0f} ms"


def ways(journal: Iterable[dict[str, Any]]) -> dict[int, Way]:
    """The ways by order. Processes write side by side, so a fact may stand before the one that it follows from."""
    lines = list(journal)
    found = {line["event"]: Way(line["order"], line["at"]) for line in lines if line["fact"] == "saved"}
    for line in lines:
        way = found.get(line["event"])
        if way and line["fact"] == "sent" and way.sent is None:
            way.sent, way.sender = line["at"], line["process"]
        elif way and line["fact"] == "handled":
            way.handled.setdefault(line["handler"], []).append(line["at"])
    return {way.order: way for way in found.values()}
