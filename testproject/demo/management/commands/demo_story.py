"""``manage.py demo_story``: the part of the demo that runs once its Kafka, its database and its processes are there."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from testproject.demo.story import Story, StoryFailed


class Command(BaseCommand):
    help = "The demo's own process; start the demo with ./dev demo."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEMO_JOURNAL:
            raise CommandError("This is a part of the demo. Start it with: ./dev demo")
        self._say(f"{connection.display_name} at {connection.settings_dict['NAME']}")
        try:
            Story(self._say).tell(once=options["once"])
        except StoryFailed as failure:
            raise CommandError(str(failure)) from failure

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
