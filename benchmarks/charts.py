"""A bar chart as SVG: product and yard-stick of each variant of a scenario."""

from collections.abc import Sequence
from html import escape

from benchmarks.report import number
from benchmarks.result import Result

WIDTH, LABELS, BAR, GAP = 900, 330, 14, 14
COLOURS = {"product": "#2a6f97", "yard-stick": "#b0b7bd"}


def bar_chart(results: Sequence[Result]) -> str:
    """One unit to a chart: give it results that share theirs."""
    title = f"{results[0].scenario}: {results[0].unit}, {results[0].better} is better"
    longest = max([value for result in results for value in _values(result).values()], default=1.0) or 1.0
    height = 60 + len(results) * (2 * BAR + GAP)
    bars = [text for at, result in enumerate(results) for text in _bars(result, 50 + at * (2 * BAR + GAP), longest)]
    legend = [
        f'<rect x="{LABELS + 110 * at}" y="28" width="10" height="10" fill="{colour}"/>'
        f'<text x="{LABELS + 16 + 110 * at}" y="37">{name}</text>'
        for at, (name, colour) in enumerate(COLOURS.items())
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="12" role="img"><title>{escape(title)}</title>'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
        f'<text x="10" y="18" font-size="14">{escape(title)}</text>{"".join(legend + bars)}</svg>\n'
    )


def _values(result: Result) -> dict[str, float]:
    given = {"product": result.product, "yard-stick": result.handwritten}
    return {name: value for name, value in given.items() if value is not None}


def _bars(result: Result, top: int, longest: float) -> list[str]:
    found = [f'<text x="{LABELS - 10}" y="{top + BAR + 4}" text-anchor="end">{escape(result.variant)}</text>']
    for at, (name, value) in enumerate(_values(result).items()):
        width = (WIDTH - LABELS - 80) * value / longest
        y = top + at * BAR
        found.append(f'<rect x="{LABELS}" y="{y}" width="{width:.1f}" height="{BAR - 2}" fill="{COLOURS[name]}"/>')
        found.append(f'<text x="{LABELS + width + 6:.1f}" y="{y + 10}">{number(value)}</text>')
    return found
