"""``manage.py demo_story``: the part of the demo that runs once its Kafka, its database and its processes are there."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from django_events.management.signals import stop_on_signals
from django_events.stopping import Stop
from testproject.demo import website
from testproject.demo.story import Interrupted, Story, StoryFailed


class Command(BaseCommand):
    help = "The demo's own process; start the demo with ./dev demo."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, help="of the web site, with which the demo goes on until Ctrl-C")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEMO_JOURNAL:
            raise CommandError("This is a part of the demo. Start it with: ./dev demo")
        self._say(f"{connection.display_name} at {connection.settings_dict['NAME']}")
        introduction = website.introduction(options["port"]) if options["port"] else None
        stop = Stop()
        try:
            with stop_on_signals(stop):
                Story(self._say, stop).tell(introduction)
        except StoryFailed as failure:
            raise CommandError(str(failure)) from failure
        except Interrupted:
            raise SystemExit(130) from None

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
