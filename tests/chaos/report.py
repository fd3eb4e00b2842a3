"""Writes what was measured into the page about reliability, between two comments that name the table."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.chaos.planted import BUGS
from tests.chaos.result import Result
from tests.pages import write_between


def write_runs(page: Path, results: Sequence[Result]) -> None:
    """The table of a long run."""
    seeds = sorted(result.seed for result in results)
    faults = sum((Counter(result.faults) for result in results), Counter[str]())
    falterings = sum(result.falterings for result in results)
    violations = sum((Counter(result.violations) for result in results), Counter[str]())
    rows = {
        "Seeds": f"{len(seeds)} ({seeds[0]} to {seeds[-1]})",
        "Minutes": f"{sum(result.seconds for result in results) / 60:.0f}",
        "Events committed": f"{sum(result.committed for result in results):,}",
        "Further records of the same events": f"{sum(result.records - result.committed for result in results):,}",
        "Effects of handlers": f"{sum(result.effects for result in results):,}",
        "Dead letters": f"{sum(result.letters for result in results):,}",
        "Faults": f"{faults.total():,}: {_listed(faults)}",
        "Times that a server could not do the plainest for more than a second": f"{falterings:,}",
        "Longest time from the last fault until all was at rest": _longest(results),
        "Rounds of a catch-up's second thread": f"{sum(result.partner_rounds for result in results):,}",
        "Violations": _listed(violations) or "none",
    }
    table = ["| | |", "|---|---|", *[f"| {name} | {text} |" for name, text in rows.items()]]
    write_between(page, "long run", "\n".join(table))


def write_planted(page: Path, seeds: Mapping[str, int | None], rules: Mapping[str, Sequence[str]]) -> None:
    """The table of planted bugs: in how many seeds each was caught, and by which rules."""
    rows = [
        f"| {BUGS[name].what} | {f'{needed} of {BUGS[name].seeds}' if needed else 'not'} | {_code(rules[name])} |"
        for name, needed in seeds.items()
    ]
    write_between(page, "planted bugs", "\n".join(["| Bug | Caught in seed | By |", "|---|---|---|", *rows]))


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())


def _code(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _longest(results: Sequence[Result]) -> str:
    if any(result.settled is None for result in results):
        return "not all came to rest"
    return f"{max(result.settled or 0.0 for result in results):.0f} s"
