"""``manage.py send_now_in_forks``: forks while a thread is sending, and sends in each child."""

import os
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import connections

from tests.ledger.events import EntryMade, entry_made

PATIENT = 60.0
"""Seconds; many processes begin at once."""


class Command(BaseCommand):
    help = "Sends two entries at once in each of some children, while this process goes on sending."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--children", type=int, default=2)

    def handle(self, *args: Any, **options: Any) -> None:
        entry_made.send_now(EntryMade("parent", 0), key="parent", timeout=PATIENT)
        connections.close_all()
        ended = threading.Event()
        thread = threading.Thread(target=self._send_until, args=(ended,))
        thread.start()
        children = [self._fork(f"child-{number}") for number in range(options["children"])]
        results = [os.waitpid(child, 0)[1] for child in children]
        ended.set()
        thread.join()
        assert not any(results), results

    def _send_until(self, ended: threading.Event) -> None:
        number = 0
        while not ended.is_set():
            number += 1
            entry_made.send_now(EntryMade("parent", number), key="parent", timeout=PATIENT)

    def _fork(self, name: str) -> int:
        child = os.fork()
        if child:
            return child
        for number in (1, 2):
            entry_made.send_now(EntryMade(name, number), key=name, timeout=PATIENT)
        raise SystemExit(0)  # with all that happens at the end of a process
