"""What a run came to, for people and for the report."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.chaos.evidence import Evidence
from tests.chaos.facts import NOTICED, AnyFact, Sending, Settled
from tests.chaos.timeline import timeline
from tests.chaos.violation import Violation

SHOWN = 1
"""Violations of one rule that are told in full: one cause mostly makes many."""

PARTNER = "django-events-catchup-partner"
"""What the second thread of a catch-up is called."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one run, and what it violated."""

    seed: int
    planted: str
    history: str
    seconds: float
    committed: int
    """Events whose transaction was committed."""
    records: int
    """Records in Kafka, duplicates included."""
    effects: int
    """Traces of handlers."""
    letters: int
    """Dead letters in the table."""
    faults: dict[str, int]
    """Number of faults by kind."""
    partner_rounds: int
    """Rounds of a catch-up's second thread: where there are none, nothing of it was tried."""
    falterings: int
    """How often a server could not do the plainest for more than a second."""
    settled: float | None
    """Seconds from the last fault until all was at rest."""
    violations: dict[str, int]
    """Number of violations by rule."""
    told: tuple[str, ...]
    """Some of them with their timelines."""

    def __str__(self) -> str:
        verdict = ", ".join(f"{rule} ({count})" for rule, count in self.violations.items()) or "nothing violated"
        rest = "not at rest" if self.settled is None else f"at rest after {self.settled:.1f} s"
        return (
            f"seed {self.seed}: {self.committed:,} events, {self.records - self.committed:,} duplicates, "
            f"{self.effects:,} effects, {sum(self.faults.values())} faults, {rest}, {self.seconds:.0f} s: {verdict}"
        )


def summed_up(
    seed: int,
    planted: str,
    history: Path,
    facts: Sequence[AnyFact],
    violations: Sequence[Violation],
    seconds: float,
) -> Result:
    """The result of a run."""
    evidence = Evidence(facts)
    return Result(
        seed=seed,
        planted=planted,
        history=str(history),
        seconds=seconds,
        committed=len(evidence.saved),
        records=len(evidence.records),
        effects=sum(map(len, evidence.effects.values())),
        letters=sum(map(len, evidence.kept.values())),
        faults=dict(Counter(fault.kind for fault in evidence.faults if fault.kind not in NOTICED)),
        partner_rounds=sum(sending.thread == PARTNER for sending in evidence.all(Sending)),
        falterings=len(evidence.falterings),
        settled=next((fact.seconds for fact in evidence.all(Settled)), None),
        violations=dict(Counter(violation.rule for violation in violations)),
        told=tuple(_told(facts, violations)),
    )


def broken_off(seed: int, planted: str, history: Path, why: str, seconds: float) -> Result:
    """The result of a run that could not be played to its end; it counts as a violation."""
    return Result(
        seed=seed,
        planted=planted,
        history=str(history),
        seconds=seconds,
        committed=0,
        records=0,
        effects=0,
        letters=0,
        faults={},
        partner_rounds=0,
        falterings=0,
        settled=None,
        violations={"broken off": 1},
        told=(why,),
    )


def _told(facts: Sequence[AnyFact], violations: Sequence[Violation]) -> list[str]:
    told: Counter[str] = Counter()
    texts = []
    for violation in violations:
        told[violation.rule] += 1
        if told[violation.rule] <= SHOWN:
            texts.append("\n".join([f"{violation.rule}: {violation.what}", *timeline(facts, violation)]))
    return texts
