"""The status for a program, as JSON's types."""

from typing import Any

import msgspec

from django_events.status.findings import Finding, findings
from django_events.status.overview import FailureLine, Overview, ProcessLine, TopicBacklog


def of(overview: Overview) -> dict[str, Any]:
    """All of it. Numbers of rows end at the bound up to which is counted."""
    kafka, unknown, no_groups = overview.kafka, overview.unknown_processes, overview.unknown_groups
    no_letters = overview.unknown_letters
    return {
        "at": overview.at.isoformat(),
        "findings": [_finding(each) for each in findings(overview)],
        "kafka": {"brokers": overview.brokers, "answers": kafka is None, "reason": kafka.reason if kafka else None},
        "outbox": [_backlog(line) for line in overview.outbox],
        "databases_unreadable": [{"database": each.what, "reason": each.reason} for each in overview.databases],
        "groups_unknown": no_groups.reason if no_groups else None,
        "groups": msgspec.to_builtins(overview.groups),
        "dead_letters": msgspec.to_builtins(overview.letters),
        "dead_letters_unknown": no_letters.reason if no_letters else None,
        "failures": [_failure(each) for each in overview.failures],
        "processes": [_process(each) for each in overview.processes],
        "processes_unknown": unknown.reason if unknown else None,
        "handlers_differ": msgspec.to_builtins(overview.differences),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "severity": finding.severity.name.lower(),
        "what": finding.what,
        "remedy": finding.remedy,
        "command": finding.command or None,
        "page": finding.page or None,
    }


def _backlog(line: TopicBacklog) -> dict[str, Any]:
    return {
        "database": line.database,
        "topic": line.topic,
        "waiting": line.waiting,
        "oldest_seconds": line.oldest,
        "set_aside": line.set_aside,
    }


def _failure(failure: FailureLine) -> dict[str, Any]:
    return {
        "open_letters": failure.open_letters,
        "group": failure.group,
        "handler": failure.handler,
        "topic": failure.topic,
        "exception": failure.exception,
        "message": failure.message,
    }


def _process(process: ProcessLine) -> dict[str, Any]:
    return {
        "kind": process.kind,
        "host": process.host,
        "pid": process.pid,
        "version": process.version,
        "seconds_since_start": process.age,
        "seconds_silent": process.silent_for,
        "silent": process.is_silent,
        "activity": msgspec.to_builtins(process.activity),
    }
