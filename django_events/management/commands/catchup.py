"""``manage.py catchup``: sends what waits in the outbox and what nobody else sends."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError

from django_events import tables
from django_events.conf import settings
from django_events.exceptions import EventsError
from django_events.management import arguments, metrics_port
from django_events.management.garbage import sparing_what_there_is
from django_events.management.signals import stop_on_signals
from django_events.producing.catchup import Catchup
from django_events.producing.sender import ROWS
from django_events.stopping import Stop


class Command(BaseCommand):
    help = "Sends the events that wait in the outbox, whoever saved them. Several processes share the work."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--once",
            action="store_true",
            help="send what waits now, then exit; with code 1 if events are left that no other sender has in hand",
        )
        parser.add_argument(
            "--interval",
            type=arguments.seconds_above_zero,
            default=1.0,
            metavar="SECONDS",
            help="how long to wait between two looks that find nothing (default: 1)",
        )
        parser.add_argument(
            "--batch-size",
            type=arguments.whole_number,
            default=ROWS,
            metavar="ROWS",
            help=f"how many rows to send in one transaction (default: {ROWS:,})",
        )
        parser.add_argument(
            "--database",
            action="append",
            metavar="ALIAS",
            help="a database with an outbox; may be repeated (default: all in the setting DATABASES)",
        )

        metrics_port.add_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._catch_up(options)
        except (EventsError, DatabaseError) as error:
            raise CommandError(str(error).strip()) from error

    def _catch_up(self, options: dict[str, Any]) -> None:
        tables.require("manage.py catchup", "send_now() leaves nothing to catch up with")
        databases = options["database"] or list(settings.DATABASES)
        unknown = sorted(set(databases) - set(settings.DATABASES))
        if unknown:
            raise CommandError(
                f"No outbox in database {', '.join(unknown)}. The setting DATABASES names {list(settings.DATABASES)!r}."
            )
        catchup = Catchup(databases, options["batch_size"])
        metrics_port.open_port(options)
        stop = Stop()
        with stop_on_signals(stop), sparing_what_there_is():
            if options["once"]:
                self._once(catchup, stop)
            else:
                self.stdout.write(f"Catching up in {', '.join(databases)} every {options['interval']:g} s")
                self.stdout.flush()
                catchup.run(options["interval"], stop)

    def _once(self, catchup: Catchup, stop: Stop) -> None:
        result = catchup.run_once(stop)
        others = f"; other senders have lanes with events in hand: {result.busy}" if result.busy else ""
        self.stdout.write(f"Sent {result.sent:,} events{others}")
        if result.left:
            what = (
                f"Kafka did not take all events: {result.why}" if result.why else "It was stopped before all were sent"
            )
            raise CommandError(f"{what}. They stay in the outbox.")
