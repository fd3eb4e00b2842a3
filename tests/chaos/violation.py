"""What a rule finds."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Something that was promised did not hold. ``rule`` is filled in by the checker."""

    what: str
    events: tuple[str, ...] = ()
    """The events that tell of it; the timeline shows what happened to them."""
    actors: tuple[str, ...] = ()
    """Actors whose faults and processes belong to it besides those that had to do with the events."""
    handler: str | None = None
    """The handler that it is about, if it is about one: other handlers' facts are left out of the timeline."""
    rule: str = field(default="")
