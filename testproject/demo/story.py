"""The story of the demo: orders are placed, one is rolled back, one sender is killed, one order cannot be billed and is
repaired, and every event takes effect once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from itertools import count

from django.conf import settings
from django.db import transaction

from django_events.consuming import repair
from django_events.models import DeadLetter, State
from django_events.stopping import Stop
from testproject.demo.balance import Balance
from testproject.demo.letters import Letters
from testproject.demo.news import News
from testproject.shop import orders
from testproject.shop.models import Order

PATIENCE = 120.0
"""Seconds until the demo gives up: far more than anything here takes."""

CUSTOMERS = ("ann", "bob", "cleo", "dan")
TOTAL = Decimal("9.90")
NOTHING = Decimal("0.00")
"""A total that billing refuses."""

POISON = 8
"""Every which order some handler refuses, while the demo goes on."""

MOST_OPEN = 5
"""Dead letters at most that wait for the operator."""


class StoryFailed(Exception):
    """What was promised did not happen."""


class Interrupted(Exception):
    """Somebody has pressed Ctrl-C before there was anything to check."""


class Story:
    """Places orders and tells what becomes of each, while others handle and catch up. ``say`` prints a line."""

    def __init__(self, say: Callable[[str], None], stop: Stop) -> None:
        self._say = say
        self._stop = stop
        self._letters = Letters()
        self._news = News(say, self._letters)
        self._placed: list[int] = []
        self._numbers = count(1)

    def tell(self, introduction: str | None) -> None:
        """Tell all of it, and check it at the end. Raises StoryFailed, or Interrupted in the middle.

        With an introduction to the web site it goes on until it is stopped, and leaves dead letters to the operator.
        """
        self._chapters()
        if introduction:
            self._go_on(introduction)
        self._check(all_resolved=not introduction)

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
        self._say("\nAn order that billing refuses: its event becomes a dead letter, which an operator repairs.")
        self._place(total=NOTHING)
        self._wait_for_all()
        self._repair(self._placed[-1])

    def _go_on(self, introduction: str) -> None:
        self._say(f"\n{introduction}")
        self._say("\nAn order each second, now and then one that billing or mail refuses, until you press Ctrl-C:")
        while not self._stop.wait(1.0):
            self._place_good_or_poison()
            self._news.tell(self._placed)
        self._say("")
        self._wait_for_all(although_stopped=True)

    # ── what happens ─────────────────────────────────────────────────────────────────────────────────────────────

    def _place(self, *, customer: str | None = None, total: Decimal = TOTAL) -> None:
        if customer is None:
            customer = CUSTOMERS[next(self._numbers) % len(CUSTOMERS)]
        self._placed.append(orders.place(customer, total).pk)

    def _place_good_or_poison(self) -> None:
        if len(self._placed) % POISON or self._open_letters() >= MOST_OPEN:
            self._place()
        elif len(self._placed) % (2 * POISON):
            self._place(customer="")
        else:
            self._place(total=NOTHING)

    def _place_and_roll_back(self) -> None:
        try:
            with transaction.atomic():
                orders.place("eve", TOTAL)
                raise StoryFailed("the card was declined")
        except StoryFailed as reason:
            self._say(f"an order   saved → rolled back: {reason}")

    def _place_and_be_killed(self) -> None:
        before = Order.objects.count()
        killed = subprocess.run(
            [sys.executable, "manage.py", "place_order", "fred", str(TOTAL)],
            env={**os.environ, "DJANGO_EVENTS_CRASH_AT": "committed-before-wake"},
            cwd=settings.BASE_DIR,
        )
        order = Order.objects.filter(customer="fred").latest("pk")
        if killed.returncode != -signal.SIGKILL or Order.objects.count() != before + 1:
            raise StoryFailed("the process that places an order was not killed after its commit")
        self._say(f"order {order.pk:<4} saved → its process is killed")
        self._placed.append(order.pk)

    def _repair(self, order: int) -> None:
        """Do what the admin's "edit and retry" does."""
        (letter,) = self._letters.of([order])
        payload = repair.editable_payload(letter)
        repair.edit(letter, payload.replace(f'"{NOTHING}"', f'"{TOTAL}"'))
        self._wait(lambda: self._is_resolved(letter), f"dead letter {letter.pk} was not resolved")

    def _is_resolved(self, letter: DeadLetter) -> bool:
        self._news.tell(self._placed)
        return DeadLetter.objects.filter(pk=letter.pk, state=State.RESOLVED).exists()

    def _open_letters(self) -> int:
        return sum(letter.is_open for letter in self._letters.of(self._placed))

    # ── how it ends ──────────────────────────────────────────────────────────────────────────────────────────────

    def _wait_for_all(self, *, although_stopped: bool = False) -> None:
        self._wait(lambda: self._news.tell(self._placed), "not every event arrived", although_stopped)

    def _wait(self, condition: Callable[[], bool], otherwise: str, although_stopped: bool = False) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if self._stop.is_set() and not although_stopped:
                raise Interrupted
            if time.monotonic() > deadline:
                raise StoryFailed(f"{otherwise} within {PATIENCE:g} s")
            time.sleep(0.02)

    def _check(self, *, all_resolved: bool) -> None:
        self._news.tell(self._placed)
        balance = Balance(self._placed, self._news.ways_of(self._placed), self._letters.of(self._placed))
        self._say(f"\n{balance}")
        if not balance.is_even():
            raise StoryFailed("an order has not exactly one invoice and one confirmation")
        if all_resolved and not balance.is_all_resolved():
            raise StoryFailed("a dead letter is not resolved")
        waiting = self._open_letters()
        but = f", but for {waiting} that wait as dead letters" if waiting else ""
        self._say(f"Every event arrived and took effect once{but}.")
