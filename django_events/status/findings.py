"""What is wrong, where, and what to do about it: the first thing that an operator wants to know."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

from django_events.models import Kind
from django_events.presence.activity import Running
from django_events.status.overview import Difference, GroupLine, Overview, ProcessLine, TopicBacklog
from django_events.status.words import number, span

LATE = 60.0
"""Seconds that events may wait, to be sent or to be handled, before it is said; also those of a handler's call."""

SHOWN = 10
"""Findings of one sort that are told; the others are in the tables below."""

ILL = {
    "ended": "has ended",
    "hangs": "does not ask Kafka any more",
    "stuck": "waits for a handler, or for a dead letter to be written, that takes over a minute",
}
"""What is wrong with a group in a process, by its state."""


class Severity(IntEnum):
    """How bad it is; the lowest is the worst."""

    FAILING = 1
    """Something does not go on, or not for long, unless somebody acts."""
    WAITING = 2
    """Somebody has to decide or to repair something."""
    ODD = 3
    """It may be as it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be. Immutable."""

    severity: Severity
    what: str
    """What is wrong, and where, as a sentence."""
    remedy: str
    """What to do, as sentences."""
    command: str = ""
    """What to type, if that helps."""
    page: str = ""
    """Where in the admin to look, below the pages of this app."""


def findings(overview: Overview) -> list[Finding]:
    """What is wrong, the worst first."""
    rules = (_kafka, _databases, _outbox, _groups, _processes, _letters, _differences, _catchup)
    return sorted((found for rule in rules for found in rule(overview)), key=lambda found: found.severity)


# ── servers ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _kafka(overview: Overview) -> Iterator[Finding]:
    if overview.kafka:
        yield Finding(
            severity=Severity.FAILING,
            what=_sentence(overview.kafka.reason),
            remedy="Nothing is lost: events wait in the outbox, and all goes on by itself once Kafka is back. See to "
            "it, or correct the setting KAFKA.",
            command="manage.py events topics",
        )
    if overview.unknown_groups:
        yield Finding(
            severity=Severity.ODD,
            what=f"Nothing is known of the consumer groups: {_sentence(overview.unknown_groups.reason)}",
            remedy="Whether they run, and how late they are, is not known here. Their processes work as always. If "
            "this process may not ask, allow it to describe groups and topics.",
            command="manage.py events groups",
        )


def _databases(overview: Overview) -> Iterator[Finding]:
    for problem in overview.databases:
        yield Finding(
            severity=Severity.FAILING,
            what=f"The outbox in database {problem.what} cannot be read: {_sentence(problem.reason)}",
            remedy="See to the database, and migrate it.",
            command=f"manage.py migrate --database {problem.what}",
        )
    no_letters = overview.unknown_letters
    if no_letters and no_letters.what not in {problem.what for problem in overview.databases}:
        yield Finding(
            severity=Severity.FAILING,
            what=f"Nothing is known of the dead letters in database {no_letters.what}: {_sentence(no_letters.reason)}",
            remedy="See to the database, and migrate it.",
            command=f"manage.py migrate --database {no_letters.what}",
        )
    if overview.unknown_processes:
        yield Finding(
            severity=Severity.ODD,
            what=f"It is not known which processes run: {_sentence(overview.unknown_processes.reason)}",
            remedy="They work as always. They are seen once their table is there.",
            command=f"manage.py migrate --database {overview.unknown_processes.what}",
        )


# ── the outbox ───────────────────────────────────────────────────────────────────────────────────────────────────


def _outbox(overview: Overview) -> Iterator[Finding]:
    late = [line for line in overview.outbox if (line.oldest or 0.0) > LATE]
    for line in sorted(late, key=lambda line: -(line.oldest or 0.0))[:SHOWN]:
        yield Finding(
            severity=Severity.FAILING,
            what=f"{_events(line.waiting, line)} waiting to be sent, the oldest for {span(line.oldest or 0.0)}.",
            remedy=_remedy_for_waiting(overview),
            command="" if overview.kafka else _sending_command(overview),
            page=f"outgoingevent/?place=lane&database={line.database}",
        )
    for line in [line for line in overview.outbox if line.set_aside][:SHOWN]:
        yield Finding(
            severity=Severity.WAITING,
            what=f"{_events(line.set_aside, line)} set aside: Kafka refuses {'it' if line.set_aside == 1 else 'them'}.",
            remedy="Mend the cause, which stands beside each, then send them again or discard them in the admin.",
            page=f"outgoingevent/?place=aside&database={line.database}",
        )


def _remedy_for_waiting(overview: Overview) -> str:
    if overview.kafka:
        return "They are sent once Kafka is back."
    if not _catches_up(overview):
        return "Nobody looks after what others have left: run catchup."
    return "The log of the processes that send says why they are not sent; perhaps the topic is held back."


def _sending_command(overview: Overview) -> str:
    return "manage.py events topics --check" if _catches_up(overview) else "manage.py catchup"


def _catches_up(overview: Overview) -> bool:
    """Whether a catchup runs, or may run: nobody is said to be missing where it is not known who is there."""
    return bool(overview.unknown_processes) or any(process.kind == Kind.CATCHUP for process in overview.alive)


def _catchup(overview: Overview) -> Iterator[Finding]:
    if not _catches_up(overview) and overview.oldest_waiting <= LATE:
        yield Finding(
            severity=Severity.ODD,
            what="No catchup runs: what a killed process leaves in the outbox is sent by nobody.",
            remedy="Run one beside your site, unless something starts catchup --once from time to time.",
            command="manage.py catchup",
        )


# ── groups ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _groups(overview: Overview) -> Iterator[Finding]:
    yield from _missing_topics(overview)
    without_members = [group for group in overview.groups if not group.members and group.state in ("empty", "absent")]
    for group in [group for group in without_members if group.lag][:SHOWN]:
        yield Finding(
            severity=Severity.FAILING,
            what=f"No process runs the group {group.name}{_lag(group)}.",
            remedy="Start one, or remove the group's handlers.",
            command=f"manage.py consume {group.name}",
        )
    if idle := tuple(group.name for group in without_members if not group.lag):
        yield Finding(
            severity=Severity.WAITING,
            what=f"No process runs the group{'s' * (len(idle) > 1)} {_few(idle)}. Nothing waits for that yet.",
            remedy="Start one, or remove their handlers.",
            command=f"manage.py consume {' '.join(idle[:SHOWN])}",
        )
    late = [group for group in overview.groups if group not in without_members and (group.oldest or 0.0) > LATE]
    for group in late[:SHOWN]:
        yield Finding(
            severity=Severity.WAITING,
            what=f"The group {group.name} is late{_lag(group)}.",
            remedy="If the lag grows, give it more workers, or more processes as long as there are partitions. If an "
            "offset stands still, the log of its process says which handler holds it.",
            command=f"manage.py events groups {group.name} --watch",
        )


def _missing_topics(overview: Overview) -> Iterator[Finding]:
    by_topic: defaultdict[str, list[str]] = defaultdict(list)
    for group in overview.groups:
        for topic in group.missing_topics:
            by_topic[topic].append(group.name)
    for topic in sorted(by_topic)[:SHOWN]:
        yield Finding(
            severity=Severity.FAILING,
            what=f"Kafka does not have the topic {topic}, which is handled by {_few(tuple(by_topic[topic]))}.",
            remedy="Create it.",
            command="manage.py events topics --create",
        )


def _lag(group: GroupLine) -> str:
    age = "" if group.oldest is None else f", and the oldest event has waited for {span(group.oldest)}"
    return f"; its lag is {group.lag:,}{age}" if group.lag else ""


# ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────


def _processes(overview: Overview) -> Iterator[Finding]:
    for process in [each for each in overview.processes if each.is_silent][:SHOWN]:
        yield Finding(
            severity=Severity.ODD if process.kind == Kind.RELAY else Severity.WAITING,
            what=f"The process {process.name} has said nothing for {span(process.silent_for)}: it was killed, or "
            "stands still.",
            remedy="See why it ended, and whether another runs in its place. It is forgotten after an hour.",
        )
    yield from _long_calls(overview)
    yield from _ill_groups(overview)
    yield from _troubles(overview)


def _long_calls(overview: Overview) -> Iterator[Finding]:
    """One finding for each handler, however many processes wait for it."""
    calls = [(call, process.name) for process in overview.alive if (call := _long_call(process))]
    by_handler: defaultdict[str, list[tuple[Running, str]]] = defaultdict(list)
    for call, name in sorted(calls, key=lambda found: -found[0].seconds):
        by_handler[call.handler].append((call, name))
    for found in [*by_handler.values()][:SHOWN]:
        longest, where = found[0]
        others = [name for _, name in found[1:]]
        yield Finding(
            severity=Severity.FAILING,
            what=f"Handler {longest.handler} has been running for {span(longest.seconds)} with event "
            f"{longest.event_id}, in {where}{f'; also for over a minute in {_where(others)}' if others else ''}.",
            remedy="Its partition waits for it. If it hangs, end the process; the event comes again. Give what the "
            "handler waits for a time-out.",
        )


def _long_call(process: ProcessLine) -> Running | None:
    """The call of this process that has been running for too long by now, if there is one."""
    oldest = process.activity.oldest if process.activity else None
    seconds = oldest.seconds + process.silent_for if oldest else 0.0
    return replace(oldest, seconds=seconds) if oldest and seconds > LATE else None


def _ill_groups(overview: Overview) -> Iterator[Finding]:
    """One finding for each group and what is wrong with it, in however many processes that is so."""
    where: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for process in overview.alive:
        for group in process.activity.groups if process.activity else ():
            if group.state in ILL and not (group.state == "stuck" and _long_call(process)):
                where[group.name, group.state].append(process.name)
    for (name, state), processes in sorted(where.items(), key=lambda found: -len(found[1]))[:SHOWN]:
        yield Finding(
            severity=Severity.FAILING,
            what=f"The group {name} {ILL[state]} in {_where(processes)}.",
            remedy="Its log says why. Start the process again.",
        )


def _troubles(overview: Overview) -> Iterator[Finding]:
    """One finding for each text: in an outage all processes say the same."""
    where: defaultdict[str, list[str]] = defaultdict(list)
    for process in overview.alive:
        for text in process.activity.troubles if process.activity else ():
            where[text].append(process.name)
    for text, processes in sorted(where.items(), key=lambda found: -len(found[1]))[:SHOWN]:
        yield Finding(
            severity=Severity.WAITING,
            what=f"{_sentence(text)} ({_where(processes)})",
            remedy="It is tried again until it works.",
        )


def _differences(overview: Overview) -> Iterator[Finding]:
    for each in overview.differences[:SHOWN]:
        yield Finding(
            severity=Severity.ODD,
            what=f"{_processes_in_words(each.processes)} other handlers of {each.group} than the newest code"
            f"{_difference_in_words(each)}.",
            remedy="While you deploy that is so for a while. Else an old process was forgotten: start it again.",
        )


def _processes_in_words(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{shown} {'declares' if len(names) == 1 else 'declare'}"


def _difference_in_words(difference: Difference) -> str:
    parts = {"changed": difference.changed, "lacking": difference.lacking, "additional": difference.additional}
    texts = [f"{word}: {_few(names)}" for word, names in parts.items() if names]
    return f" ({'; '.join(texts)})" if texts else ""


# ── dead letters ─────────────────────────────────────────────────────────────────────────────────────────────────


def _letters(overview: Overview) -> Iterator[Finding]:
    letters = overview.letters
    if letters is None or not letters.open:
        return
    worst = _few(tuple(dict.fromkeys(f"{each.group}/{each.handler}" for each in overview.failures)))
    by_themselves = "" if letters.asked_for else " They are tried again by themselves."
    asked = f", {number(letters.asked_for)} of them until somebody says so" if letters.asked_for else ""
    yield Finding(
        severity=Severity.WAITING if letters.asked_for else Severity.ODD,
        what=f"{number(letters.open)} dead {'letter is' if letters.open == 1 else 'letters are'} open{asked}"
        f"{f', of {worst}' if worst else ''}; the first failure is {span(letters.oldest or 0.0)} old.",
        remedy=f"Mend the cause, then retry or discard them.{by_themselves}",
        command="manage.py events dead-letters list",
        page="failure/",
    )


# ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _events(count: int, line: TopicBacklog) -> str:
    events = "event" if count == 1 else "events"
    return f"{number(count)} {events} of topic {line.topic} in database {line.database} {'is' if count == 1 else 'are'}"


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _where(processes: list[str]) -> str:
    """The process, or how many they are and some of them."""
    names = tuple(dict.fromkeys(processes))
    return _few(names) if len(names) == 1 else f"{len(names):,} processes: {_few(names)}"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
