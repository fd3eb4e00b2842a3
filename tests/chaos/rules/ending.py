"""How a run must end."""

import signal
from collections.abc import Iterator

from tests.chaos.evidence import Evidence
from tests.chaos.facts import Ended, Settled, Unsettled
from tests.chaos.violation import Violation

GOOD_ENDS = (0, -signal.SIGKILL, -signal.SIGTERM)


def everything_settles(evidence: Evidence) -> Iterator[Violation]:
    """Within a bounded time after the last fault the outbox is empty and no group lags behind."""
    for fact in evidence.all(Unsettled):
        yield Violation(what=f"after the last fault there stayed {fact.left}")
    if not any(evidence.all(Settled)) and not any(evidence.all(Unsettled)):
        yield Violation(what="the run has no end")


def no_process_ends_by_itself(evidence: Evidence) -> Iterator[Violation]:
    """Whatever broke, a process went on until the run ended it, and then ended as it should."""
    for fact in evidence.all(Ended):
        if not fact.wanted:
            what = f"{fact.actor} (process {fact.process}) ended by itself with code {fact.code}"
            yield Violation(what=what, actors=(fact.actor,))
        elif fact.code not in GOOD_ENDS and not (fact.too_late and fact.code == 1):
            what = f"{fact.actor} (process {fact.process}) was to end, and did so with code {fact.code}"
            yield Violation(what=what, actors=(fact.actor,))
