"""The status for people: what is wrong first, then tables."""

import textwrap
from collections.abc import Iterator, Sequence

from django_events.management.printable import printable
from django_events.management.table import Column, Table
from django_events.status.findings import Finding, Severity, findings
from django_events.status.overview import FailureLine, GroupLine, Letters, Overview, ProcessLine, TopicBacklog
from django_events.status.words import SHOWN_PROCESSES, does, left_out, number, span

WIDTH = 120
"""Columns that sentences have at most."""

MARKS = {Severity.FAILING: "!!", Severity.WAITING: "! ", Severity.ODD: "? "}
"""What stands in front of a finding."""

OUTBOX = (
    Column(title="DATABASE"),
    Column(title="TOPIC", least=20),
    Column(title="WAITING", right=True),
    Column(title="OLDEST", right=True),
    Column(title="SET ASIDE", right=True),
)
GROUPS = (
    Column(title="GROUP", least=12),
    Column(title="STATE"),
    Column(title="MEMBERS", right=True),
    Column(title="LAG", right=True),
    Column(title="OLDEST", right=True),
)
PROCESSES = (
    Column(title="PROCESS"),
    Column(title="HOST", least=10),
    Column(title="PID", right=True),
    Column(title="VERSION", optional=True),
    Column(title="RUNS FOR", right=True),
    Column(title="SEEN", right=True),
    Column(title="DOES", least=16),
)
FAILURES = (
    Column(title="OPEN LETTERS", right=True),
    Column(title="HANDLER", least=15),
    Column(title="TOPIC", least=15),
    Column(title="ERROR", least=15),
)


def lines(overview: Overview, width: int) -> Iterator[str]:
    """The page, no wider than ``width``."""
    yield from _findings(findings(overview), min(width, WIDTH))
    yield ""
    yield from _table(OUTBOX, width, map(_outbox_cells, overview.outbox), "The outbox is empty.")
    yield ""
    is_unknown = overview.kafka or overview.unknown_groups
    nothing = "Kafka does not tell of the groups." if is_unknown else "No consumer group is declared."
    yield from _table(GROUPS, width, map(_group_cells, overview.groups), nothing)
    yield ""
    nothing = "It is not known." if overview.unknown_processes else "No process has been seen within an hour."
    yield from _table(PROCESSES, width, map(_process_cells, overview.processes[:SHOWN_PROCESSES]), nothing)
    yield from left_out(overview)
    yield ""
    yield _letters(overview.letters)
    if overview.failures:
        yield from _table(FAILURES, width, map(_failure_cells, overview.failures), "")


def _findings(found: Sequence[Finding], width: int) -> Iterator[str]:
    if not found:
        yield "Nothing is wrong."
    for finding in found:
        yield from _wrapped(f"{MARKS[finding.severity]} {printable(finding.what)}", width)
        command = f" {finding.command}" if finding.command else ""
        yield from _wrapped(f"   → {printable(finding.remedy + command)}", width)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text, width, subsequent_indent=" " * 5, break_on_hyphens=False, drop_whitespace=True, replace_whitespace=False
    )


def _table(columns: tuple[Column, ...], width: int, rows: Iterator[list[str]], otherwise: str) -> Iterator[str]:
    cells = list(rows)
    yield from Table(columns, width).lines(cells) if cells else [otherwise]


def _outbox_cells(line: TopicBacklog) -> list[str]:
    return [line.database, line.topic, number(line.waiting), _age(line.oldest), number(line.set_aside)]


def _group_cells(group: GroupLine) -> list[str]:
    return [group.name, group.state, str(group.members), f"{group.lag:,}", _age(group.oldest)]


def _process_cells(process: ProcessLine) -> list[str]:
    seen = f"{span(process.silent_for)} ago" + (", SILENT" if process.is_silent else "")
    return [process.kind, process.host, str(process.pid), process.version, span(process.age), seen, does(process)]


def _letters(letters: Letters | None) -> str:
    if letters is None:
        return "It is not known which dead letters are open."
    if not letters.open:
        return "No dead letter is open."
    asked = f" ({number(letters.asked_for)} of them until somebody says so)" if letters.asked_for else ""
    age = f", the first failure {span(letters.oldest)} old" if letters.oldest is not None else ""
    return (
        f"Dead letters: {number(letters.waiting)} waiting{asked}, {number(letters.running)} running{age}; "
        f"{number(letters.resolved)} resolved, {number(letters.discarded)} discarded."
    )


def _failure_cells(failure: FailureLine) -> list[str]:
    error = f"{failure.exception}: {failure.message}" if failure.message else failure.exception
    handler = f"{failure.group}/{failure.handler}"
    return [f"{failure.open_letters:,}", handler, failure.topic, error.partition("\n")[0]]


def _age(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:,.0f} s"
