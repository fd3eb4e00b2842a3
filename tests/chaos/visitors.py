"""What the visitors of the chaotic site do: transactions of every kind, drawn from a seed."""

import random
import time
import uuid
from collections.abc import Callable

from django.db import Error as DatabaseError
from django.db import connection, transaction
from django.db.models import F

from django_events import Topic
from tests.chaos.events import Moved, late, moved
from tests.chaos.facts import Aborted, Committed, Dropped
from tests.chaos.history import note
from tests.chaos.models import Account
from tests.chaos.writing import write, write_many

ACCOUNTS = 12
"""Aggregates that all processes lock in turn."""

LOOSE_KEYS = 6
"""Keys that all processes use without locking anything."""

AFTER_AN_ERROR = 0.2
"""Seconds until the next visitor comes when the database was not there for the last."""


class ChangedHisMind(Exception):
    """The visitor's reason to roll a transaction back."""


class Visitors:
    """Visitors of one process, one after the other."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._kinds: dict[Callable[[str], None], int] = {
            self._one_movement: 30,
            self._several_movements: 15,
            self._without_lock: 15,
            self._without_key: 5,
            self._rolled_back: 12,
            self._with_dropped_savepoint: 15,
            self._long: 8,
            self._late: 8,
        }

    def come(self) -> None:
        """One visit: one transaction, whose end is noted as far as it is known."""
        name = uuid.uuid4().hex[:12]
        (visit,) = self._draw.choices([*self._kinds], [*self._kinds.values()])
        try:
            with transaction.atomic():
                visit(name)
        except ChangedHisMind:
            note(Aborted(transaction=name))
        except DatabaseError:  # whether it was committed, the database will tell
            connection.close()
            time.sleep(AFTER_AN_ERROR)
        else:
            note(Committed(transaction=name))

    # ── kinds of visits ──────────────────────────────────────────────────────────────────────────────────────────

    def _one_movement(self, name: str) -> None:
        self._move(self._lock_account(), name)

    def _several_movements(self, name: str) -> None:
        account = self._lock_account()
        numbers = [_next_number(account) for _ in range(self._draw.randint(2, 6))]
        events = [
            moved.event(Moved(account, number, self._text()), key=account, headers=self._headers())
            for number in numbers
        ]
        write_many(moved, events, name, dict(zip([event.id for event in events], numbers, strict=True)))

    def _without_lock(self, name: str) -> None:
        key = f"loose-{self._draw.randrange(LOOSE_KEYS)}"
        write(moved, Moved(key, None, self._text()), key, name)

    def _without_key(self, name: str) -> None:
        write(moved, Moved("", None, self._text()), None, name)

    def _rolled_back(self, name: str) -> None:
        self._move(self._lock_account(), name)
        raise ChangedHisMind

    def _with_dropped_savepoint(self, name: str) -> None:
        """The first event of the transaction is rolled back with its savepoint; mostly another follows."""
        account = self._lock_account()
        event = moved.event(Moved(account, None, self._text()), key=account)
        try:
            with transaction.atomic():
                write_many(moved, [event], name, {event.id: _next_number(account)})
                raise ChangedHisMind
        except ChangedHisMind:
            note(Dropped(event=event.id))
        if self._draw.random() < 0.8:
            self._move(account, name)

    def _long(self, name: str) -> None:
        """Its first event gets a place in the outbox long before it is committed. It locks nothing that others want."""
        key = f"long-{uuid.uuid4().hex[:6]}"
        write(moved, Moved(key, 1), key, name, 1)
        time.sleep(self._draw.uniform(0.05, 2.0))
        write(moved, Moved(key, 2), key, name, 2)
        if self._draw.random() < 0.25:
            raise ChangedHisMind

    def _late(self, name: str) -> None:
        """Events of a topic that Kafka may not have yet, and one of another topic, which must not wait for it."""
        account = self._lock_account()
        for _ in range(self._draw.randint(1, 4)):
            self._move(account, name, late)
        self._move(account, name)

    # ── parts of them ────────────────────────────────────────────────────────────────────────────────────────────

    def _lock_account(self) -> str:
        name = f"account-{self._draw.randrange(ACCOUNTS)}"
        return Account.objects.select_for_update().get_or_create(name=name)[0].name

    def _move(self, account: str, name: str, topic: Topic[Moved] = moved) -> None:
        number = _next_number(account)
        write(topic, Moved(account, number, self._text()), account, name, number)

    def _text(self) -> str:
        """Mostly short, now and then of some kilobytes."""
        return self._draw.choice(("", "ein Ümläut ☃", "x" * 50)) if self._draw.random() < 0.9 else "long " * 700

    def _headers(self) -> list[tuple[str, str | None]]:
        return self._draw.choice(([], [("tenant", "7"), ("tenant", "8"), ("nothing", None), ("empty", "")]))


def _next_number(account: str) -> int:
    Account.objects.filter(name=account).update(last=F("last") + 1)
    return Account.objects.values_list("last", flat=True).get(name=account)
