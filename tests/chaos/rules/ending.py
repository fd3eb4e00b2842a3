"""How a run must end."""

from collections.abc import Iterator

from tests.chaos.evidence import Evidence
from tests.chaos.facts import Ended, Settled, Unsettled
from tests.chaos.violation import Violation


def everything_settles(evidence: Evidence) -> Iterator[Violation]:
    """Within a bounded time after the last fault the outbox is empty and no group lags behind."""
    for fact in evidence.all(Unsettled):
        yield Violation(what=f"after the last fault there stayed {fact.left}")
    if not any(evidence.all(Settled)) and not any(evidence.all(Unsettled)):
        yield Violation(what="the run has no end")


def no_process_ends_by_itself(evidence: Evidence) -> Iterator[Violation]:
    """Whatever broke, a process went on until the run ended it."""
    for fact in evidence.all(Ended):
        if not fact.wanted:
            what = f"{fact.actor} (process {fact.process}) ended by itself with code {fact.code}"
            yield Violation(what=what, actors=(fact.actor,))
