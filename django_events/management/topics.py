"""``manage.py events topics``: how the topics in Kafka differ from what is declared."""

from argparse import _SubParsersAction
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_events import handlers, topics
from django_events.conf import settings
from django_events.consuming import pruning
from django_events.kafka import config, retention, topic_survey
from django_events.kafka.topic_survey import TopicState
from django_events.management import arguments
from django_events.management.console import Console
from django_events.management.table import Column, Table

COLUMNS = (
    Column(title="TOPIC"),
    Column(title="STATE"),
    Column(title="PARTITIONS", right=True),
    Column(title="COPIES", right=True),
    Column(title="DIFFERS", least=20),
)


def add_to(verbs: "_SubParsersAction[CommandParser]") -> None:
    """Add ``topics``."""
    text = "Compares the declared topics, and those for dead letters, with the ones in Kafka."
    parser = verbs.add_parser("topics", help=text, description=text)
    arguments.add_djangos_options(parser)
    parser.add_argument("--create", action="store_true", help="create what is missing; what is there is never changed")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a topic is missing or differs")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each, instead of a table")
    arguments.add_timeout_of_kafka(parser)
    parser.set_defaults(run=run)


def run(options: dict[str, Any], console: Console) -> None:
    """Say it, for people or for a program. Raises CommandError for what could not be created, or is not as declared."""
    declared = [topic.spec for topic in topics.declared()]
    letters = _letters()
    created: set[str] = set()
    if options["create"]:
        created = topic_survey.create_all_missing(declared, letters, options["timeout"])
    states = topic_survey.survey(declared, letters, options["timeout"])
    if options["json"]:
        for state in states:
            console.say_json(_facts(state, created))
    else:
        _say_table(console, states, created)
    if options["check"]:
        for problem in retention.problems(pruning.exactly_once_topics(handlers.declared()), options["timeout"]):
            console.note(problem)
    _complain(options, states)


def _letters() -> dict[str, list[str]]:
    """By group, the topics of which it has dead letters, or of which a group here handles its dead letters."""
    found: dict[str, set[str]] = {}
    for group in handlers.declared():
        found.setdefault(group.name, set()).update(group.dead_letter_sources)
        for other, sources in group.foreign_letters():
            found.setdefault(other, set()).update(sources)
    return {name: sorted(sources) for name, sources in found.items()}


def _say_table(console: Console, states: list[TopicState], created: set[str]) -> None:
    prefix = f", prefix {settings.PREFIX!r}" if settings.PREFIX else ""
    console.note(f"Kafka at {config.brokers()}{prefix}")
    rows = [_cells(state, created) for state in states]
    for line in Table(COLUMNS, console.width).lines(rows) if rows else ["No topic is declared."]:
        console.say(line)


def _complain(options: dict[str, Any], states: list[TopicState]) -> None:
    missing = [state.wire_name for state in states if state.is_missing]
    if options["create"] and missing:
        raise CommandError(f"Could not create {', '.join(missing)}: see the log.")
    wrong = sum(not state.is_as_declared for state in states)
    if options["check"] and wrong:
        raise CommandError(
            f"{wrong:,} of {len(states):,} topics are missing or differ from their declaration. Create missing ones "
            "with --create; change the others with Kafka's own tools, or change their declaration."
        )


def _cells(state: TopicState, created: set[str]) -> list[str]:
    differs = ", ".join(f"{each.what} is {each.actual}, declared {each.declared}" for each in state.differences)
    numbers = [state.partitions, state.replication_factor]
    return [state.wire_name, _word(state, created), *("" if each is None else str(each) for each in numbers), differs]


def _word(state: TopicState, created: set[str]) -> str:
    if state.is_missing:
        return "missing"
    if state.differences:
        return "differs"
    return "created" if state.name in created else "ok"


def _facts(state: TopicState, created: set[str]) -> dict[str, Any]:
    return {
        "topic": state.name,
        "name_in_kafka": state.wire_name,
        "state": _word(state, created),
        "partitions": state.partitions,
        "replication_factor": state.replication_factor,
        "differences": [
            {"what": each.what, "declared": each.declared, "actual": each.actual} for each in state.differences
        ],
    }
