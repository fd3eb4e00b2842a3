"""Writes the figures of a page from a file of results: tables in Markdown, and charts in a folder beside the page.

What the file has nothing of keeps the figures that the page has. Each table tells when it was measured.

usage: python -m benchmarks.page FILE [PAGE]
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from benchmarks.charts import bar_chart
from benchmarks.report import SIDES, further, number
from benchmarks.result import Costs, Result, load
from tests.pages import read_between, write_between

PAGE = Path("docs/performance.md")
CHARTS = "images/performance"
"""The folder of the charts, beside the page."""

TITLE = "### "

HEAD = (
    "| Variant | Product | Yard-stick | Ratio (spread) | Processor ms per 1,000 "
    "| MB (yard-stick's) | SQL | Log | Dead |\n"
    "|---|---:|---:|---:|---|---|---:|---:|---:|"
)


def figures(results: Sequence[Result], folder: Path, before: str = "") -> str:
    """Tables of all results, and a chart of each unit of a scenario, which is written below the folder.

    ``before`` are the figures until now; those of which there are no new ones stay.
    """
    (folder / CHARTS).mkdir(parents=True, exist_ok=True)
    sections = dict(_sections(before))
    for (scenario, unit), found in groupby(results, key=lambda result: (result.scenario, result.unit)):
        same_unit = list(found)
        chart = f"{CHARTS}/{scenario}-{unit.replace('/', '-per-')}.svg"
        (folder / chart).write_text(bar_chart(same_unit))
        table = "\n".join([HEAD, *map(_row, same_unit)])
        parts = [f"![{scenario} in {unit}]({chart})", table, "\n".join(_beside(same_unit)), _about(same_unit)]
        sections[f"{scenario}, {unit}"] = "\n\n".join(part for part in parts if part)
    return "\n\n".join(f"{TITLE}{title}\n\n{section}" for title, section in sections.items())


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """The title of each section, and what is below."""
    for section in text.split(TITLE)[1:]:
        title, _, below = section.partition("\n")
        yield title, below.strip()


def _about(results: Sequence[Result]) -> str:
    run = results[0].run
    servers = run.get("servers", {})
    found = {"Python": run["python"]} | {name: server["version"] for name, server in servers.items()} | run["versions"]
    versions = ", ".join(f"{name} {version}" for name, version in found.items())
    disks = ", ".join(f"{name} {server['disk']}" for name, server in servers.items())
    repeats = " or ".join(map(str, sorted({result.repeats for result in results})))
    small = " Sizes were small: these figures only show that all works." if run["quick"] else ""
    return (
        f"Measured {run['date'][:10]} on {run['processors']} processors ({run['processor']}) with "
        f"{run['memory'] / 1e9:.1f} GB, {run['machine']}, load {run['load']:.1f} before the first run; "
        f"{versions}; where the data lie: {disks or 'unknown'}; "
        f"median of {repeats} runs of each side, in turn.{small}"
    )


def _row(result: Result) -> str:
    spread = f" ({result.ratio_range[0]:.2f}–{result.ratio_range[1]:.2f})" if result.ratio_range else ""
    ratio = "—" if result.ratio is None else f"{result.ratio:.2f}{spread}"
    name = result.variant if result.correct else f"{result.variant} **(wrong data)**"
    costs, by_hand = (result.costs.get(side, Costs()) for side in SIDES)
    cpu = ", ".join(f"{process} {seconds * 1000:.0f}" for process, seconds in costs.cpu.items())
    memory, other_memory = (", ".join(f"{each:.0f}" for each in found.memory.values()) for found in (costs, by_hand))
    statements = "—" if costs.statements is None else f"{costs.statements:.3f}"
    cells = [
        name,
        f"{number(result.product)} {result.unit}",
        f"{number(result.handwritten)} ({result.yardstick})",
        ratio,
        cpu,
        f"{memory} ({other_memory})" if other_memory else memory,
        statements,
        f"{costs.wal:,.0f}",
        f"{costs.dead_tuples:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def _beside(results: Sequence[Result]) -> Iterator[str]:
    """What has no column: further figures, and what is to be known of a variant. All its figures share them."""
    for (notes, remarks), found in groupby(results, key=lambda result: (result.notes, result.remarks)):
        told = [f"{SIDES[side]} {further(figures)}" for side, figures in notes.items() if figures]
        if told or remarks:
            yield f"- {' and '.join(result.variant for result in found)}: {'; '.join([*told, *remarks])}"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="what ./dev bench --json has written")
    parser.add_argument("page", type=Path, nargs="?", default=PAGE, help=f"the page (default: {PAGE})")
    options = parser.parse_args(arguments)
    try:
        results = load(options.file)
        if not results:
            raise ValueError(f"{options.file} has no results")
        before = read_between(options.page, "figures")
        write_between(options.page, "figures", figures(results, options.page.parent, before))
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
