"""``manage.py visit``: a process of the chaotic site whose visitors come until the run is over."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import Error as DatabaseError
from django.db import connection

from django_events.models import OutgoingEvent
from tests.chaos.scenario import LATE
from tests.chaos.visitors import Visitors

DOORS = 2
"""Threads of a process, as many web servers have: one may be in a long transaction while another sends."""

BURST = 6
"""Visits in a row of one thread in a calm phase, after which all events must be gone before the next."""

GIVEN_UP_AFTER = 7.0
"""Seconds after which a burst is followed by the next, though its events still wait."""


class Command(BaseCommand):
    help = "Lets visitors come until the file says that it is over."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--seed", type=int, required=True)
        parser.add_argument("--phase", type=Path, required=True, help="the file that names the phase")
        parser.add_argument("--rate", type=float, default=15.0, help="visits a second")

    def handle(self, *args: Any, **options: Any) -> None:
        self._phase: Path = options["phase"]
        self._rate: float = options["rate"]
        self.stdout.write("Open")
        self.stdout.flush()
        with ThreadPoolExecutor(DOORS) as pool:
            list(pool.map(self._open_door, [random.Random(f"{options['seed']} {door}") for door in range(DOORS)]))

    def _open_door(self, draw: random.Random) -> None:
        """Let visitors come one after the other, until the run is over."""
        visitors = Visitors(draw)
        while (phase := self._phase.read_text()) != "settling":
            if phase == "calm":
                self._burst(visitors)
            elif phase != "preparing":
                visitors.come()
            time.sleep(draw.expovariate(self._rate / DOORS))
        connection.close()

    def _burst(self, visitors: Visitors) -> None:
        """Some visits, then nothing until they are sent: the last event of a lane gets no help from another."""
        for _ in range(BURST):
            visitors.come()
        deadline = time.monotonic() + GIVEN_UP_AFTER
        while time.monotonic() < deadline and _something_waits():
            time.sleep(0.1)


def _something_waits() -> bool:
    try:
        return OutgoingEvent.objects.exclude(topic=LATE).exists()  # that one may be held back for long
    except DatabaseError:
        connection.close()
        return True
