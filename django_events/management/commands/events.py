"""``manage.py events VERB …``: what operators see and do from the shell."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError

from django_events import tables
from django_events.exceptions import EventsError
from django_events.management import pruning, topics
from django_events.management.console import Console, nobody_reads_on
from django_events.management.dead_letters import verbs as dead_letters
from django_events.management.groups import verb as groups
from django_events.management.replay import verb as replay
from django_events.management.status import verb as status


class Command(BaseCommand):
    help = "Shows what became of events, and repairs what failed."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(metavar="VERB", required=True)
        status.add_to(verbs)
        topics.add_to(verbs)
        groups.add_to(verbs)
        replay.add_to(verbs)
        pruning.add_to(verbs)
        dead_letters.add_to(verbs)

    def handle(self, *args: Any, **options: Any) -> None:
        run = options["run"]
        try:
            if what := options.get("needs_tables"):
                tables.require(f"manage.py events {what}")
            run(options, Console(self.stdout, self.stderr))
        except (EventsError, DatabaseError) as error:
            raise CommandError(str(error).strip()) from error
        except BrokenPipeError:
            nobody_reads_on()
