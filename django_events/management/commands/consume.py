"""``manage.py consume``: runs the handlers of some or all consumer groups until it is told to stop."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_events import broadcasting, registry
from django_events.consuming.limits import Limits
from django_events.consuming.service import SHUTDOWN_TIMEOUT
from django_events.exceptions import EventsError
from django_events.handlers import ConsumerGroup
from django_events.management import arguments, metrics_port
from django_events.management.console import Console, nobody_reads_on
from django_events.management.consume import page, reloading
from django_events.management.consume.health_file import HealthFile
from django_events.management.consume.running import Run, consume
from django_events.management.signals import stop_on_signals
from django_events.stopping import Stop


class Command(BaseCommand):
    help = "Runs the handlers of the consumer groups (all of them, or those named) until SIGTERM or SIGINT."

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("groups", nargs="*", metavar="GROUP", help="a consumer group; default: all")
        add("--exclude", action="append", default=[], metavar="GROUP", help="not this group; may be repeated")
        add("--no-broadcast", action="store_true", help="only the groups, not the handlers of broadcast events")
        add(
            "--workers",
            type=arguments.workers,
            metavar="NUMBER",
            help="threads that run handlers, in each group (default: what the group declares, 8)",
        )
        add(
            "--shutdown-timeout",
            type=arguments.seconds,
            default=SHUTDOWN_TIMEOUT,
            metavar="SECONDS",
            help="how long running handlers may take to finish after the signal to stop "
            f"(default: {SHUTDOWN_TIMEOUT:g})",
        )
        add("--until-empty", action="store_true", help="end when everything is handled that is in Kafka at the start")
        add(
            "--max-events",
            type=arguments.whole_number,
            metavar="NUMBER",
            help="end after so many events, for a supervisor to start it again",
        )
        add(
            "--health-file",
            type=Path,
            metavar="PATH",
            help="touch this file each second as long as every group polls and no handler is stuck",
        )
        metrics_port.add_options(parser)
        add("--reload", action="store_true", help="start again when code changes, as runserver does")
        add("--list", action="store_true", help="show what would be consumed and how, and end; asks nobody")
        add("--json", action="store_true", help="with --list: as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._handle(options)
        except EventsError as error:
            raise CommandError(str(error)) from error

    def _handle(self, options: dict[str, Any]) -> None:
        console = Console(self.stdout, self.stderr)
        broadcasts = [] if options["no_broadcast"] else broadcasting.declared()
        groups = _chosen(options["groups"], options["exclude"], may_be_none=bool(broadcasts))
        limits = Limits(workers=options["workers"])
        if options["json"] and not options["list"]:
            raise CommandError("--json is for --list. Remove it, or add --list.")
        if options["list"]:
            _list(console, page.Page(groups, broadcasts, limits), as_json=options["json"])
            return
        run = Run(
            groups=groups,
            broadcasts=broadcasts,
            limits=limits,
            shutdown_timeout=options["shutdown_timeout"],
            until_empty=options["until_empty"],
            max_events=options["max_events"],
            health_file=HealthFile(options["health_file"]) if options["health_file"] else None,
        )
        if not options["reload"] or reloading.is_child():
            metrics_port.open_port(options)
        if options["reload"]:
            _reload(run, console)
            return
        stop = Stop()
        with stop_on_signals(stop):
            _consume(run, stop, console)


def _reload(run: Run, console: Console) -> None:
    if reloading.is_child():
        reloading.consume_until_a_change(lambda stop, code: _consume(run, stop, console, code))
    else:
        reloading.keep_a_child(console)


def _consume(run: Run, stop: Stop, console: Console, exit_code: Callable[[], int] = lambda: 1) -> None:
    for line in page.lines(page.Page(run.groups, run.broadcasts, run.limits), console.width):
        console.tell(line)
    consume(run, stop, console, exit_code)


def _chosen(names: Sequence[str], excluded: Sequence[str], *, may_be_none: bool) -> list[ConsumerGroup]:
    groups = registry.groups(names, excluded)
    if groups or (may_be_none and not names):
        return groups
    if registry.groups(names):
        raise CommandError("--exclude leaves no consumer group. Name fewer of them.")
    raise CommandError(
        "No handlers are declared. Declare a ConsumerGroup and its handlers in handlers.py of an installed app."
    )


def _list(console: Console, shown: page.Page, *, as_json: bool) -> None:
    try:
        if as_json:
            console.say_json(page.facts(shown))
        else:
            for line in page.lines(shown, console.width):
                console.say(line)
        console.out.flush()
    except BrokenPipeError:
        nobody_reads_on()
