"""Writes the figures of a page from a file of results: tables in Markdown, and charts in a folder beside the page.

usage: python -m benchmarks.page FILE [PAGE]
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from benchmarks.charts import bar_chart
from benchmarks.report import number
from benchmarks.result import Costs, Result, load
from tests.pages import write_between

PAGE = Path("docs/performance.md")
CHARTS = "images/performance"
"""The folder of the charts, beside the page."""

HEAD = """| Variant | Product | Yard-stick | Ratio (spread) | Processor ms per 1,000 | MB | SQL | Log | Dead |
|---|---:|---:|---:|---|---|---:|---:|---:|"""


def figures(results: Sequence[Result], folder: Path) -> str:
    """Tables of all results, and a chart of each unit of a scenario, which is written below the folder."""
    (folder / CHARTS).mkdir(parents=True, exist_ok=True)
    parts = [_about(results)]
    for (scenario, unit), found in groupby(results, key=lambda result: (result.scenario, result.unit)):
        same_unit = list(found)
        chart = f"{CHARTS}/{scenario}-{unit.replace('/', '-per-')}.svg"
        (folder / chart).write_text(bar_chart(same_unit))
        table = "\n".join([HEAD, *map(_row, same_unit)])
        parts += [f"### {scenario}, {unit}", f"![{scenario} in {unit}]({chart})", table]
    return "\n\n".join(parts)


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
    parser.add_argument("page", type=Path, nargs="?", default=PAGE, help=f"the page (default: {PAGE})")
    options = parser.parse_args(arguments)
    try:
        results = load(options.file)
        if not results:
            raise ValueError(f"{options.file} has no results")
        write_between(options.page, "figures", figures(results, options.page.parent))
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
