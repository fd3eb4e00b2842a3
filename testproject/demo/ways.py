"""The way of each order's event, put together from the journal."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Way:
    """What became of one event. Times are seconds since 1970."""

    order: int = 0
    saved: float = 0.0
    sent: float | None = None
    sender: str = ""
    """The process that sent it."""
    handled: dict[str, list[float]] = field(default_factory=dict)
    """By handler, each time that it took effect."""

    def take(self, line: dict[str, Any]) -> None:
        """Note one more fact."""
        if line["fact"] == "saved":
            self.order, self.saved = line["order"], line["at"]
        elif line["fact"] == "sent" and self.sent is None:
            self.sent, self.sender = line["at"], line["process"]
        elif line["fact"] == "handled":
            self.handled.setdefault(line["handler"], []).append(line["at"])

    def has_arrived_at(self, handlers: Iterable[str]) -> bool:
        return self.sent is not None and all(handler in self.handled for handler in handlers)

    def __str__(self) -> str:
        steps = ["saved", f"sent {self._after(self.sent or self.saved)}{' by catchup' * (self.sender == 'catchup')}"]
        steps += [f"{handler} {self._after(times[0])}" for handler, times in sorted(self.handled.items())]
        return f"order {self.order:<4} {' → '.join(steps)}"

    def _after(self, moment: float) -> str:
        return f"{(moment - self.saved) * 1000:,.0f} ms"


class Ways:
    """All ways by event. Processes write side by side, so a fact may stand before the one that it follows from."""

    def __init__(self) -> None:
        self._by_event: defaultdict[str, Way] = defaultdict(Way)

    def take(self, lines: Iterable[dict[str, Any]]) -> None:
        """Take in more lines of the journal."""
        for line in lines:
            self._by_event[line["event"]].take(line)

    def by_order(self) -> dict[int, Way]:
        """The ways of the events that are known to be saved."""
        return {way.order: way for way in self._by_event.values() if way.order}
