"""What happened around a violation, told in the order of time for people."""

from collections.abc import Sequence

from tests.chaos.facts import (
    DATABASE,
    KAFKA,
    Aborted,
    AnyFact,
    Began,
    Committed,
    Ended,
    Fault,
    Intent,
    Kept,
    Phase,
    Saved,
)
from tests.chaos.violation import Violation

LONGEST = 60
"""Lines of a timeline; of a longer one the middle is left out."""

BEFORE = 10.0
"""Seconds before the first of its facts in which a fault still belongs to a violation."""


AFTER = 1.0
"""Seconds after the last."""


def timeline(facts: Sequence[AnyFact], violation: Violation) -> list[str]:
    """The shortest slice of the history that tells of the violation: its events, their transactions and processes,
    and the faults that hit those."""
    about = _about_events(facts, violation)
    actors = {fact.actor for fact in about} | {*violation.actors}
    begin, end = _span(facts, about, violation)
    topics = {fact.topic for fact in about if isinstance(fact, Intent)}
    around = [fact for fact in facts if _is_within(fact, begin, end) and _is_around(fact, actors, topics)]
    found = sorted([*about, *around], key=lambda fact: fact.at)
    start = min((fact.at for fact in facts if isinstance(fact, Phase)), default=facts[0].at)
    return _shortened([_line(fact, start) for fact in found])


def _span(facts: Sequence[AnyFact], about: Sequence[AnyFact], violation: Violation) -> tuple[float, float]:
    if about:
        known = [fact.at for fact in about if not isinstance(fact, Saved | Kept)]  # those two are of the end
        return min(known, default=0.0) - BEFORE, max(known, default=0.0) + AFTER
    if violation.actors:
        return 0.0, float("inf")
    return max((fact.at for fact in facts if isinstance(fact, Phase)), default=0.0), float("inf")  # how it ended


def _about_events(facts: Sequence[AnyFact], violation: Violation) -> list[AnyFact]:
    events = set(violation.events)
    transactions = {fact.transaction for fact in facts if isinstance(fact, Intent) and fact.event in events}
    return [
        fact
        for fact in facts
        if (isinstance(fact, Committed | Aborted) and fact.transaction in transactions)
        or (_events_of(fact) & events and getattr(fact, "handler", None) in (None, violation.handler))
    ]


def _events_of(fact: AnyFact) -> set[str]:
    return {getattr(fact, "event", ""), *getattr(fact, "events", ())}


def _is_within(fact: AnyFact, begin: float, end: float) -> bool:
    return fact.at <= end and begin <= (fact.until if isinstance(fact, Fault) else fact.at)


def _is_around(fact: AnyFact, actors: set[str], topics: set[str]) -> bool:
    if isinstance(fact, Fault):
        return bool({*fact.hits} & {*actors, *topics, KAFKA, DATABASE})
    return isinstance(fact, Phase) or (isinstance(fact, Began | Ended) and fact.actor in actors)


def _line(fact: AnyFact, start: float) -> str:
    details = {name: getattr(fact, name) for name in fact.__struct_fields__ if name not in ("at", "actor", "process")}
    details.pop("headers", None)
    text = "  ".join(f"{name}={_short(value)}" for name, value in details.items() if value is not None)
    return f"{fact.at - start:9.3f} s  {fact.actor:<12} {fact.process:>7}  {type(fact).__name__:<16} {text}"


def _short(value: object) -> str:
    if isinstance(value, tuple) and len(value) > 6:
        return f"({len(value)} of them)"
    return f"{value:.3f}" if isinstance(value, float) else str(value)[:80]


def _shortened(lines: list[str]) -> list[str]:
    if len(lines) <= LONGEST:
        return lines
    half = LONGEST // 2
    return [*lines[:half], f"          … {len(lines) - 2 * half} more …", *lines[-half:]]
