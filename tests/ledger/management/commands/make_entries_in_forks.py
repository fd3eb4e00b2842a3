"""``manage.py make_entries_in_forks``: sends, forks, and sends in parent and children, as a preforking server does."""

import os
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import connections

from django_events.models import OutgoingEvent
from tests.ledger.entries import make_entry
from tests.waiting import wait_for


class Command(BaseCommand):
    help = "Makes two entries in this process and two in each of some children."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--children", type=int, default=2)

    def handle(self, *args: Any, **options: Any) -> None:
        make_entry("parent")
        wait_for(lambda: not OutgoingEvent.objects.exists())  # the thread runs, and has a producer and a connection
        connections.close_all()  # as every preforking server must
        children = [self._fork(f"child-{number}") for number in range(options["children"])]
        make_entry("parent")
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
        wait_for(lambda: not OutgoingEvent.objects.exists())  # a process that ends waits for two seconds only

    def _fork(self, name: str) -> int:
        child = os.fork()
        if child:
            return child
        make_entry(name)
        make_entry(name)
        wait_for(lambda: not OutgoingEvent.objects.filter(key=name.encode()).exists())
        raise SystemExit(0)  # with all that happens at the end of a process
