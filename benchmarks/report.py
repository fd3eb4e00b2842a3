"""Results as text for a terminal."""

from collections.abc import Sequence

from benchmarks.result import Costs, Result

SIDES = {"product": "product", "handwritten": "yard-stick"}


def number(value: float | None) -> str:
    """A figure with three digits or more, as people read it."""
    if value is None:
        return "—"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def lines(results: Sequence[Result]) -> list[str]:
    """The results of one variant: its figures, then what both sides cost."""
    found = [_figure(result) for result in results]
    for result in results[:1]:
        found += [f"    {SIDES[side]:<10}  {_costs(costs)}" for side, costs in result.costs.items()]
        found += [f"    {SIDES[side]:<10}  {further(notes)}" for side, notes in result.notes.items() if notes]
        found += [f"    NOTE: {remark}" for remark in result.remarks]
        found += [f"    WRONG: {problem}" for problem in result.problems]
    return found


def _figure(result: Result) -> str:
    spread = f" ({result.ratio_range[0]:.2f} to {result.ratio_range[1]:.2f})" if result.ratio_range else ""
    ratio = "—" if result.ratio is None else f"{result.ratio:.2f}"
    return (
        f"  {result.name:<46} {number(result.product):>9} {result.unit}, "
        f"{result.yardstick} {number(result.handwritten)}, ratio {ratio}{spread}"
        + ("" if result.correct else "  WRONG DATA")
    )


def _costs(costs: Costs) -> str:
    cpu = ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in costs.cpu.items())
    memory = ", ".join(f"{name} {megabytes:.0f} MB" for name, megabytes in costs.memory.items())
    statements = "unknown" if costs.statements is None else f"{costs.statements:.3f}"
    return (
        f"processor per 1,000 events: {cpu}; memory: {memory}; per event: {statements} statements, "
        f"{costs.wal:,.0f} bytes of log, {costs.dead_tuples:.2f} dead tuples"
    )


def further(notes: dict[str, float]) -> str:
    """Figures of one side that are not compared."""
    return ", ".join(f"{name} {number(value)}" for name, value in notes.items())


def comparison(results: Sequence[Result], before: Sequence[Result]) -> list[str]:
    """How these results differ from earlier ones. Ratios are compared: the machine may have been faster then."""
    earlier = {result.name: result for result in before}
    found = []
    for result in results:
        old = earlier.get(result.name)
        if old is None or old.ratio is None or result.ratio is None:
            found.append(f"  {result.name:<46} has no earlier ratio to be compared with")
            continue
        change = result.ratio / old.ratio - 1
        is_better = (change > 0) == (result.better == "higher")
        word = "as before" if abs(change) < 0.03 else "better" if is_better else "WORSE"
        found.append(f"  {result.name:<46} ratio {old.ratio:.2f} → {result.ratio:.2f} ({change:+.0%}) {word}")
    return found
