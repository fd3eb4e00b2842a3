"""``manage.py make_entries``: a process that sends, for tests that kill it or run several."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tests.ledger.entries import make_entry


class Command(BaseCommand):
    help = "Makes entries in turn on some accounts."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--accounts", type=int, default=2)
        parser.add_argument("--entries", type=int, default=10)
        parser.add_argument("--rate", type=float, default=0, help="how many a second; 0: as fast as it can")
        parser.add_argument("--first", type=int, default=0, help="the account to begin with")

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        for number in range(options["entries"]):
            if options["rate"]:
                time.sleep(max(started + number / options["rate"] - time.monotonic(), 0))
            make_entry(f"account-{(options['first'] + number) % options['accounts']}")
