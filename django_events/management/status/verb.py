"""``manage.py events status``: what is wrong and what to do, then what waits, who runs, and what failed."""

from argparse import _SubParsersAction
from typing import Any

from django.core.management.base import CommandParser

from django_events.conf import settings
from django_events.management import arguments, watching
from django_events.management.console import Console
from django_events.management.status import facts, page
from django_events.status import gathering


def add_to(verbs: "_SubParsersAction[CommandParser]") -> None:
    """Add ``status``."""
    text = (
        "Shows what is wrong and what to do about it; then what waits in the outbox, the consumer groups, the "
        "processes that run, and the dead letters."
    )
    parser = verbs.add_parser("status", help=text, description=text)
    arguments.add_djangos_options(parser)
    parser.add_argument("--json", action="store_true", help="one object of JSON")
    watching.add_to(parser)
    arguments.add_timeout_of_kafka(parser, gathering.PATIENCE)
    parser.set_defaults(run=run, needs_tables="status")


def run(options: dict[str, Any], console: Console) -> None:
    """Say it once, or until a signal, for people or for a program. An outage of Kafka or of a database is part of the
    answer."""
    watching.show(lambda: _show(options, console), options["watch"], console)


def _show(options: dict[str, Any], console: Console) -> None:
    overview = gathering.gather(options["timeout"])
    if options["json"]:
        console.say_json(facts.of(overview))
        return
    watching.begin_anew(options["watch"], console)
    prefix = f", prefix {settings.PREFIX!r}" if settings.PREFIX else ""
    console.note(f"Kafka at {overview.brokers}{prefix}, {overview.at.astimezone():%H:%M:%S}")
    for line in page.lines(overview, console.width):
        console.say(line)
