"""``manage.py events replay``: runs one handler over the past of a topic."""

from argparse import _SubParsersAction
from contextlib import closing
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_events import registry
from django_events.consuming.replay import Replay, Verdict
from django_events.exceptions import BrokerUnavailable
from django_events.handlers import Handler
from django_events.kafka import spans
from django_events.kafka.positions import Edge
from django_events.management import arguments
from django_events.management.console import Console, Progress
from django_events.management.replay import telling
from django_events.management.replay.outcome import Outcome
from django_events.management.signals import stop_on_signals
from django_events.stopping import Stop


def add_to(verbs: "_SubParsersAction[CommandParser]") -> None:
    """Add ``replay``."""
    text = (
        "Runs one handler over the events that a topic still has, without touching its consumer group. What an "
        "exactly-once handler has processed is skipped."
    )
    parser = verbs.add_parser("replay", help="Runs one handler over the past of a topic.", description=text)
    arguments.add_djangos_options(parser)
    parser.add_argument("--group", required=True, metavar="NAME", help="the handler's consumer group")
    parser.add_argument("--handler", required=True, metavar="NAME")
    parser.add_argument("--topic", required=True, metavar="NAME", help="one of the topics that the handler reads")
    parser.add_argument("--partition", type=arguments.partition, metavar="N", help="default: all")
    parser.add_argument(
        "--from",
        dest="start",
        type=arguments.position,
        default=Edge.EARLIEST,
        metavar="PLACE",
        help="earliest (the default), an OFFSET, or a TIME such as 2026-01-31T09:00",
    )
    parser.add_argument(
        "--to",
        dest="end",
        type=arguments.position,
        default=Edge.LATEST,
        metavar="PLACE",
        help="latest (the default: what is there when the command starts), or the OFFSET or TIME of the first event "
        "that is not replayed any more",
    )
    parser.add_argument("--again", action="store_true", help="run also what an exactly-once handler has processed")
    parser.add_argument("--dry-run", action="store_true", help="only count: the handler is not called")
    parser.add_argument(
        "--json", action="store_true", help="a line of JSON for each failure, and a last one for the whole"
    )
    arguments.add_timeout_of_kafka(parser)
    parser.set_defaults(run=run)


def run(options: dict[str, Any], console: Console) -> None:
    """Replay, and say what came of it. Raises CommandError if anything failed or was left."""
    handler = _handler(options)
    wanted = spans.spans(options["topic"], options["partition"], options["start"], options["end"], options["timeout"])
    telling.what_follows(handler, wanted, options, console)
    outcome, stop = Outcome(wanted), Stop()
    replay = Replay(handler, stop, again=options["again"], dry_run=options["dry_run"])
    trouble = None
    with stop_on_signals(stop), closing(spans.Reader(handler.group)) as kafka:
        progress = Progress(console, sum(span.end - span.start for span in wanted))
        try:
            for replayed in replay.run(kafka.read(wanted, stop)):
                outcome.add(replayed)
                if replayed.verdict is Verdict.FAILED:
                    telling.failure(replayed, options, console)
                progress.reached(outcome.total)
        except BrokerUnavailable as error:
            trouble = str(error)
    if not (trouble or stop.is_set()):
        outcome.reached_the_end()
    telling.whole(outcome, options, console)
    telling.complain(outcome, handler, options, trouble)


def _handler(options: dict[str, Any]) -> Handler:
    """The handler that is asked for. Raises DeclarationError or CommandError for names that are not declared."""
    group = next((each for each in registry.groups([options["group"]])), None)
    handlers = {handler.name: handler for handler in group.handlers} if group else {}
    handler = handlers.get(options["handler"].removeprefix(f"{options['group']}/"))
    if handler is None:
        known = ", ".join(handlers) or "none"
        raise CommandError(f"The group {options['group']!r} has no handler {options['handler']!r}. It has: {known}.")
    handler.require_tables()
    topics = [*handler.sources]
    if options["topic"] not in topics:
        raise CommandError(f"The handler {handler} does not read {options['topic']!r}. It reads: {', '.join(topics)}.")
    return handler
