"""Makes the figures of a page from a file of results: tables in Markdown on the output, charts beside each other.

usage: python -m benchmarks.page FILE [--charts FOLDER]
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from benchmarks.charts import bar_chart
from benchmarks.report import number
from benchmarks.result import Costs, Result, load

HEAD = """| Variant | Product | Yard-stick | Ratio (spread) | Processor ms per 1,000 | MB | SQL | Log | Dead |
|---|---:|---:|---:|---|---|---:|---:|---:|"""


def page(results: Sequence[Result], charts: Path | None = None) -> str:
    """Tables of all results; with ``charts`` also pictures, which are written to that folder."""
    parts = [_about(results)]
    for scenario, of_scenario in groupby(results, key=lambda result: result.scenario):
        parts.append(f"### {scenario}")
        for unit, found in groupby(of_scenario, key=lambda result: result.unit):
            same_unit = list(found)
            if charts:
                name = f"{scenario}-{unit.replace('/', '-per-')}.svg"
                (charts / name).write_text(bar_chart(same_unit))
                parts.append(f"![{scenario} in {unit}]({charts.name}/{name})")
            parts.append("\n".join([HEAD, *map(_row, same_unit)]))
    return "\n\n".join(parts) + "\n"


def _about(results: Sequence[Result]) -> str:
    run = results[0].run
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    small = " Sizes were small: these figures only show that all works." if run["quick"] else ""
    return (
        f"Measured {run['date'][:10]} on {run['processors']} processors ({run['machine']}), Python {run['python']}, "
        f"{versions}; median of {results[0].repeats} runs of each side, in turn.{small}"
    )


def _row(result: Result) -> str:
    spread = f" ({result.ratio_range[0]:.2f}–{result.ratio_range[1]:.2f})" if result.ratio_range else ""
    ratio = "—" if result.ratio is None else f"{result.ratio:.2f}{spread}"
    name = result.variant if result.correct else f"{result.variant} **(wrong data)**"
    costs = result.costs.get("product", Costs())
    cpu = ", ".join(f"{process} {seconds * 1000:.0f}" for process, seconds in costs.cpu.items())
    memory = ", ".join(f"{megabytes:.0f}" for megabytes in costs.memory.values())
    statements = "—" if costs.statements is None else f"{costs.statements:.3f}"
    cells = [
        name,
        f"{number(result.product)} {result.unit}",
        f"{number(result.handwritten)} ({result.yardstick})",
        ratio,
        cpu,
        memory,
        statements,
        f"{costs.wal:,.0f}",
        f"{costs.dead_tuples:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="what ./dev bench --json has written")
    parser.add_argument("--charts", type=Path, metavar="FOLDER", help="write charts (SVG) to this folder")
    options = parser.parse_args(arguments)
    try:
        results = load(options.file)
    except ValueError as error:
        parser.error(str(error))
    if not results:
        parser.error(f"{options.file} has no results")
    if options.charts:
        options.charts.mkdir(parents=True, exist_ok=True)
    print(page(results, options.charts), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
