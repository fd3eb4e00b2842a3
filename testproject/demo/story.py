"""The story of the demo: orders are placed, one is rolled back, one sender is killed, and every event arrives once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from itertools import count
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import Count

from django_events import handlers
from django_events.models import OutgoingEvent
from testproject.billing.models import Invoice
from testproject.demo.journal import read_journal
from testproject.demo.ways import Way, ways
from testproject.mail.models import Confirmation
from testproject.shop import orders
from testproject.shop.models import Order

PATIENCE = 60.0
"""Seconds until the demo gives up: far more than anything here takes."""

CUSTOMERS = ("ann", "bob", "cleo", "dan")


class StoryFailed(Exception):
    """What was promised did not happen."""


class Story:
    """Places orders and tells what becomes of each, while others handle and catch up. ``say`` prints a line."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._journal = Path(settings.DEMO_JOURNAL)
        self._handlers = [str(handler) for group in handlers.declared() for handler in group.handlers]
        self._placed: list[int] = []
        self._told: set[int] = set()
        self._customers = count()

    def tell(self, *, once: bool) -> None:
        """Tell all of it, and check it at the end. Raises StoryFailed. Without ``once`` it goes on until Ctrl-C."""
        self._chapters()
        if not once:
            self._place_until_interrupted()
        self._wait_for_all()
        self._check()

    def _chapters(self) -> None:
        self._say("\nOrders, and what becomes of their events:")
        for _ in range(4):
            self._place()
        self._wait_for_all()
        self._say("\nAn order whose transaction is rolled back: its event is never sent.")
        self._place_and_roll_back()
        self._say("\nAn order whose process is killed right after the commit: catchup sends its event.")
        self._place_and_be_killed()
        for _ in range(2):
            self._place()
        self._wait_for_all()

    # ── what happens ─────────────────────────────────────────────────────────────────────────────────────────────

    def _place(self) -> None:
        customer = CUSTOMERS[next(self._customers) % len(CUSTOMERS)]
        self._placed.append(orders.place(customer, Decimal("9.90")).pk)

    def _place_and_roll_back(self) -> None:
        try:
            with transaction.atomic():
                orders.place("eve", Decimal("9.90"))
                raise StoryFailed("the card was declined")
        except StoryFailed as reason:
            self._say(f"an order   saved → rolled back: {reason}")

    def _place_and_be_killed(self) -> None:
        before = Order.objects.count()
        killed = subprocess.run(
            [sys.executable, "manage.py", "place_order", "fred", "9.90"],
            env={**os.environ, "DJANGO_EVENTS_CRASH_AT": "committed-before-wake"},
            cwd=settings.BASE_DIR,
        )
        order = Order.objects.filter(customer="fred").latest("pk")
        if killed.returncode != -signal.SIGKILL or Order.objects.count() != before + 1:
            raise StoryFailed("the process that places an order was not killed after its commit")
        self._say(f"order {order.pk:<4} saved → its process is killed")
        self._placed.append(order.pk)

    def _place_until_interrupted(self) -> None:
        self._say("\nAn order each second, until you press Ctrl-C:")
        try:
            while True:
                self._place()
                time.sleep(1)
                self._tell_news()
        except KeyboardInterrupt:
            self._say("")

    # ── what is told ─────────────────────────────────────────────────────────────────────────────────────────────

    def _wait_for_all(self) -> None:
        self._wait(lambda: self._tell_news() == len(self._placed), "not every event arrived")

    def _tell_news(self) -> int:
        """Tell the ways that have come to their end; how many have."""
        for order, way in sorted(self._ways().items()):
            if order not in self._told and way.has_arrived_at(self._handlers):
                self._told.add(order)
                self._say(str(way))
        return len(self._told)

    def _ways(self) -> dict[int, Way]:
        return {order: way for order, way in ways(read_journal(self._journal)).items() if order in self._placed}

    def _wait(self, condition: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise StoryFailed(f"{otherwise} within {PATIENCE:g} s")
            time.sleep(0.02)

    def _check(self) -> None:
        """Look into the database: one invoice and one confirmation for each order that was placed, and no other."""
        invoices = _counts(Invoice)
        confirmations = _counts(Confirmation)
        by_catchup = sum(way.sender == "catchup" for way in self._ways().values())
        self._say(
            f"\n{len(self._placed)} orders placed, {len(self._told)} events sent and handled, "
            f"{by_catchup} of them sent by catchup\n"
            f"{sum(invoices[order] for order in self._placed if order in invoices)} invoices, "
            f"{sum(confirmations[order] for order in self._placed if order in confirmations)} confirmations, "
            f"{OutgoingEvent.objects.count()} events left in the outbox"
        )
        once_each = dict.fromkeys(self._placed, 1)
        if _only(invoices, self._placed[0]) != once_each or _only(confirmations, self._placed[0]) != once_each:
            raise StoryFailed("an order has not exactly one invoice and one confirmation")
        self._say("Every event arrived and took effect once.")


def _counts(effects: type[Invoice] | type[Confirmation]) -> dict[int, int]:
    return dict(effects.objects.values_list("order_id").annotate(Count("pk")))


def _only(counts: dict[int, int], first: int) -> dict[int, int]:
    """Those of the orders of this run: a database that was given to us may have others."""
    return {order: number for order, number in counts.items() if order >= first}
