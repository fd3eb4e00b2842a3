"""What the page of the status shows: what is wrong, what to do about it, then what waits, who runs, and what failed."""

from typing import Any, NamedTuple

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_events.admin.texts import short_name
from django_events.consuming.bodies import printable
from django_events.models import Process
from django_events.status import gathering
from django_events.status.findings import Finding, Severity, findings
from django_events.status.overview import FailureLine, GroupLine, Letters, Overview, ProcessLine, TopicBacklog
from django_events.status.words import SHOWN_PROCESSES, does, left_out, number, span

LOOKS = {
    Severity.FAILING: (gettext_lazy("failing"), "events-bad"),
    Severity.WAITING: (gettext_lazy("to do"), "events-todo"),
    Severity.ODD: (gettext_lazy("look"), ""),
}
"""How bad a finding is, in a word, and how that looks."""


class ShownFinding(NamedTuple):
    word: Any
    look: str
    what: str
    remedy: str
    command: str
    address: str
    """Of the page to look at; empty if there is none, or this person may not see it."""


class Row(NamedTuple):
    cells: list[str]
    look: str = ""


class Shown(NamedTuple):
    """A table: a name for those who look for it, headings, rows of cells, and what is said if there are none."""

    title: str
    headings: tuple[Any, ...]
    rows: list[Row]
    otherwise: str
    note: str = ""


def context_of(request: HttpRequest, site: AdminSite) -> dict[str, Any]:
    """What the page's template shows to this person. Asks Kafka and the databases, within a time-out each."""
    overview = gathering.gather()
    return {
        "at": overview.at,
        "brokers": overview.brokers,
        "kafka": overview.kafka,
        "findings": [_shown(request, site, each) for each in findings(overview)],
        "tables": tables(overview),
    }


def _shown(request: HttpRequest, site: AdminSite, finding: Finding) -> ShownFinding:
    word, look = LOOKS[finding.severity]
    address = _address(request, site, finding.page) if finding.page else ""
    what, remedy = printable(finding.what), printable(finding.remedy)
    return ShownFinding(word, look, what, remedy, finding.command, address)


def _address(request: HttpRequest, site: AdminSite, page: str) -> str:
    model, _slash, query = page.partition("/")
    app = Process._meta.app_label
    if not request.user.has_perm(f"{app}.view_{model}"):
        return ""
    return reverse(f"{site.name}:{app}_{model}_changelist") + query


def tables(overview: Overview) -> list[Shown]:
    """Everything that was found, in the order in which events pass it."""
    letters = overview.letters or Letters()
    counts = {
        _("waiting"): letters.waiting,
        _("of them until somebody says so"): letters.asked_for,
        _("running"): letters.running,
        _("resolved"): letters.resolved,
        _("discarded"): letters.discarded,
    }
    oldest = "" if letters.oldest is None else _("The first failure of the oldest is %s old.") % span(letters.oldest)
    return [
        Shown(
            _("Outbox"),
            (_("database"), _("topic"), _("waiting"), _("oldest"), _("set aside")),
            [Row(_outbox_cells(line)) for line in overview.outbox],
            _("The outbox is empty."),
        ),
        Shown(
            _("Consumer groups"),
            (_("group"), _("state"), _("members"), _("lag"), _("oldest")),
            [Row(_group_cells(group)) for group in overview.groups],
            _("Kafka does not tell of them.") if overview.kafka or overview.unknown_groups else _("None is declared."),
        ),
        Shown(
            _("Processes"),
            (_("process"), _("host"), _("pid"), _("version"), _("runs for"), _("seen"), _("does")),
            [_process_row(process) for process in overview.processes[:SHOWN_PROCESSES]],
            _("It is not known which run.") if overview.unknown_processes else _("None has been seen within an hour."),
            " ".join(left_out(overview)),
        ),
        Shown(
            _("Dead letters"),
            (*counts,),
            [Row([number(count) for count in counts.values()])] if overview.letters else [],
            _("It is not known which are open."),
            printable(oldest),
        ),
        Shown(
            _("Failures with open dead letters"),
            (_("open"), _("handler"), _("topic"), _("error")),
            [Row(_failure_cells(failure)) for failure in overview.failures],
            _("It is not known.") if overview.unknown_letters else _("There are none."),
        ),
    ]


def _outbox_cells(line: TopicBacklog) -> list[str]:
    return [line.database, printable(line.topic), number(line.waiting), _age(line.oldest), number(line.set_aside)]


def _group_cells(group: GroupLine) -> list[str]:
    return [group.name, group.state, str(group.members), f"{group.lag:,}", _age(group.oldest)]


def _process_row(process: ProcessLine) -> Row:
    seen = _("%s ago") % span(process.silent_for)
    seen = _("silent for %s") % span(process.silent_for) if process.is_silent else seen
    first = [process.kind, process.host, str(process.pid), process.version, span(process.age), seen]
    return Row([printable(cell) for cell in (*first, does(process))], "events-silent" if process.is_silent else "")


def _failure_cells(failure: FailureLine) -> list[str]:
    """Without the error's text, which may quote a payload."""
    handler = f"{failure.group}/{failure.handler}"
    return [
        f"{failure.open_letters:,}",
        *(printable(text) for text in (handler, failure.topic, short_name(failure.exception))),
    ]


def _age(seconds: float | None) -> str:
    return "–" if seconds is None else span(seconds)
