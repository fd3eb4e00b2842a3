"""Runs a variant: product and yard-stick in turn, several times, each run in a place of its own."""

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg
from confluent_kafka import KafkaException

from benchmarks.counters import Counts, can_count_statements, counts, servers_cpu, wait_for_others
from benchmarks.place import Ground, Place
from benchmarks.processes import Finished, RunFailed, run_together
from benchmarks.result import Costs, Result, median
from benchmarks.variant import Seen, Side, Variant

Say = Callable[[str], None]

FAILURES = (RunFailed, AssertionError, KafkaException, psycopg.Error)
"""What fails a run, and not all those after it: what a process, a server or a look at the data has to say."""


@dataclass(frozen=True)
class Run:
    """One run of one side."""

    seen: Seen
    finished: Sequence[Finished]
    counts: Counts
    servers: dict[str, float]
    """Seconds of processor."""


class Measuring:
    """Measures variants on one pair of servers. Not thread-safe."""

    def __init__(self, server: str, bootstrap_servers: str, migrated: str, repeats: int, about: dict[str, Any]) -> None:
        self._server = server
        self._bootstrap_servers = bootstrap_servers
        self._migrated = migrated
        self._repeats = repeats
        self._about = about

    def measure(self, variant: Variant, say: Say) -> list[Result]:
        """The results of a variant; progress is said in between. What breaks is one of their problems."""
        runs: dict[Side, list[Run]] = {side: [] for side in Side}
        problems: list[str] = []
        about = self._about | {"load_before_variant": os.getloadavg()[0]}
        repeats = min(self._repeats * variant.repeats, variant.most_repeats)
        try:
            with closing(Ground(self._server, self._bootstrap_servers, self._migrated)) as ground:
                say("preparing")
                variant.prepare(ground)
                for number in range(repeats):
                    for side in (Side.PRODUCT, Side.HANDWRITTEN)[:: -1 if number % 2 else 1]:
                        say(f"{side.value}, run {number + 1} of {repeats}")
                        runs[side].append(self._run(variant, side, ground))
        except FAILURES as error:
            problems.append(f"before or after the runs: {_said(error)}")
        return _results(variant, runs, problems, repeats, about)

    def _run(self, variant: Variant, side: Side, ground: Ground) -> Run:
        is_filled = side is Side.PRODUCT or variant.yardstick_is_filled
        try:
            with ground.place(is_filled=is_filled) as place, variant.around(place, side):
                return self._run_at(place, variant, side)
        except FAILURES as error:
            return Run(Seen({}, [f"{side.value}: {_said(error)}"]), [], Counts(None, 0, 0), {})

    def _run_at(self, place: Place, variant: Variant, side: Side) -> Run:
        before: list[tuple[Counts, dict[str, float]]] = []
        with place.connect() as connection:
            can_count_statements(connection)

            def cpu() -> dict[str, float]:
                return servers_cpu(self._server, self._bootstrap_servers)

            finished = run_together(
                variant.actors(place, side), on_start=lambda: before.append((counts(connection), cpu()))
            )
            servers_after = cpu()
            wait_for_others(connection)
            ((counts_before, servers_before),) = before
            made = counts(connection).since(counts_before)
        servers = {name: used - servers_before.get(name, used) for name, used in servers_after.items()}
        seen = variant.look(place, side, finished)
        problems = [f"{side.value}: {problem}" for problem in seen.problems]
        remarks = [f"{side.value}: {remark}" for remark in seen.remarks]
        return Run(Seen(seen.figures, problems, seen.notes, remarks), finished, made, servers)


def duration(finished: Sequence[Finished]) -> float:
    """Seconds from the begin of the first process to the end of the last."""
    return max(each.ended for each in finished) - min(each.began for each in finished)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _results(
    variant: Variant, runs: dict[Side, list[Run]], around: Sequence[str], repeats: int, about: dict[str, Any]
) -> list[Result]:
    """``around`` are problems beside those of the runs."""
    problems = [*around, *(problem for side in Side for run in runs[side] for problem in run.seen.problems)]
    names = list(dict.fromkeys(name for side in Side for run in runs[side] for name in run.seen.figures)) or [""]
    costs = {side.value: costs_of(variant.events, runs[side]) for side in Side}
    notes = {side.value: _notes(runs[side]) for side in Side}
    results = []
    for name in names:
        figures = {side: [run.seen.figures.get(name) for run in runs[side]] for side in Side}
        ratios = ratios_of(figures[Side.PRODUCT], figures[Side.HANDWRITTEN], variant.least)
        results.append(
            Result(
                scenario=variant.scenario,
                variant=f"{variant.name} {name}".strip(),
                unit=variant.unit,
                better=variant.better.value,
                product=median([each for each in figures[Side.PRODUCT] if each is not None]),
                handwritten=median([each for each in figures[Side.HANDWRITTEN] if each is not None]),
                ratio=median(ratios),
                ratio_range=(min(ratios), max(ratios)) if ratios else None,
                yardstick=variant.yardstick,
                events=variant.events,
                repeats=repeats,
                correct=not problems,
                problems=problems,
                costs=costs,
                notes=notes,
                remarks=[remark for side in Side for run in runs[side] for remark in run.seen.remarks],
                run=about,
            )
        )
    return results


def ratios_of(products: Sequence[float | None], yardsticks: Sequence[float | None], least: float = 0.0) -> list[float]:
    """Product by yard-stick of each pair of runs, but not where one has failed or the yard-stick is below ``least``."""
    pairs = zip(products, yardsticks, strict=True)
    return [product / stick for product, stick in pairs if product is not None and stick and stick >= least]


def costs_of(events: int, runs: Sequence[Run]) -> Costs:
    """What the runs of one side cost. Processes of one name are told as one."""
    cpu: dict[str, list[float]] = defaultdict(list)
    memory: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        for name in dict.fromkeys(each.name for each in run.finished):
            same = [each for each in run.finished if each.name == name]
            cpu[name].append(sum(each.cpu for each in same) / events * 1000)
            memory[name].append(max(each.memory for each in same) / 1e6)
        for name, seconds in run.servers.items():
            cpu[name].append(seconds / events * 1000)
    ended = [run.counts for run in runs if run.finished]
    statements = [made.statements for made in ended if made.statements is not None]
    return Costs(
        cpu={name: median(values) or 0.0 for name, values in cpu.items()},
        memory={name: median(values) or 0.0 for name, values in memory.items()},
        statements=(median(statements) or 0.0) / events if statements else None,
        wal=(median([made.wal for made in ended]) or 0.0) / events,
        dead_tuples=(median([made.dead_tuples for made in ended]) or 0.0) / events,
    )


def _notes(runs: Sequence[Run]) -> dict[str, float]:
    names = dict.fromkeys(name for run in runs for name in run.seen.notes)
    return {name: median([run.seen.notes[name] for run in runs if name in run.seen.notes]) or 0.0 for name in names}
