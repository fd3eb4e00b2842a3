"""Numbers and ages as people read them, and what a process does, in a line."""

from django_events.models import COUNTED
from django_events.status.overview import Overview, ProcessLine

SHOWN_PROCESSES = 100
"""Processes that are shown one by one."""


def span(seconds: float) -> str:
    """About how long that is, such as "4 min"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3_600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.0f} h" if seconds < 2 * 86_400 else f"{seconds / 86_400:,.0f} days"


def number(count: int) -> str:
    """A number of rows, as far as it was counted."""
    return f"{count - 1:,}+" if count >= COUNTED else f"{count:,}"


def does(process: ProcessLine) -> str:
    """What a process does, in a line."""
    activity = process.activity
    if activity is None:
        return "what another version tells differently"
    groups = []
    for group in activity.groups:
        has = ", ".join(f"{topic}[{numbers}]" for topic, numbers in sorted(group.partitions.items()))
        state = "" if group.state == "runs" else f" {group.state}"
        paused = f", {group.paused} paused" if group.paused else ""
        groups.append(f"{group.name}{state}: {has or 'nothing'}{paused}")
    broadcast = [f"broadcast: {', '.join(activity.broadcast)}"] if activity.broadcast else []
    return "; ".join([*groups, *broadcast, *(["sends"] if activity.sends else [])])


def left_out(overview: Overview) -> list[str]:
    """A line about the processes that are not shown; none if all are."""
    count = len(overview.processes) - SHOWN_PROCESSES
    return [f"And {count:,} more; --json has them."] if count > 0 else []
