"""A bar chart as SVG: product and yard-stick of each variant of a scenario."""

from collections.abc import Sequence
from html import escape

from benchmarks.report import number
from benchmarks.result import Result

BARS, BAR, GAP = 490, 14, 14
LETTER = 6.5
"""What a letter of a label is wide, in the mean: a little more than it is in most fonts."""
COLOURS = {"product": "#2a6f97", "yard-stick": "#b0b7bd"}


def bar_chart(results: Sequence[Result]) -> str:
    """One unit to a chart: give it results that share theirs."""
    title = f"{results[0].scenario}: {results[0].unit}, {results[0].better} is better"
    longest = max([value for result in results for value in _values(result).values()], default=1.0) or 1.0
    height = 60 + len(results) * (2 * BAR + GAP)
    left = round(30 + LETTER * max(len(result.variant) for result in results))
    width = left + BARS + 80
    tops = [50 + at * (2 * BAR + GAP) for at in range(len(results))]
    bars = [text for top, result in zip(tops, results, strict=True) for text in _bars(result, left, top, longest)]
    legend = [
        f'<rect x="{left + 110 * at}" y="28" width="10" height="10" fill="{colour}"/>'
        f'<text x="{left + 16 + 110 * at}" y="37">{name}</text>'
        for at, (name, colour) in enumerate(COLOURS.items())
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12" role="img"><title>{escape(title)}</title>'
        f'<rect width="{width}" height="{height}" fill="white"/>'
        f'<text x="10" y="18" font-size="14">{escape(title)}</text>{"".join(legend + bars)}</svg>\n'
    )


def _values(result: Result) -> dict[str, float]:
    given = {"product": result.product, "yard-stick": result.handwritten}
    return {name: value for name, value in given.items() if value is not None}


def _bars(result: Result, left: int, top: int, longest: float) -> list[str]:
    found = [f'<text x="{left - 10}" y="{top + BAR + 4}" text-anchor="end">{escape(result.variant)}</text>']
    for at, (name, value) in enumerate(_values(result).items()):
        width = BARS * value / longest
        y = top + at * BAR
        found.append(f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{BAR - 2}" fill="{COLOURS[name]}"/>')
        found.append(f'<text x="{left + width + 6:.1f}" y="{y + 10}">{number(value)}</text>')
    return found
