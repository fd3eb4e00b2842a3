"""Looks into the database at the end of the demo: whether every event took effect exactly once."""

from collections.abc import Collection

from django.db.models import Count

from django_events.models import DeadLetter, OutgoingEvent, State
from testproject.billing.models import Invoice
from testproject.demo.ways import Way
from testproject.mail.models import Confirmation

Effects = type[Invoice] | type[Confirmation]

EFFECTS: dict[str, Effects] = {"make_invoice": Invoice, "confirm_order": Confirmation}
"""By handler, what it leaves in the database for each order."""


class Balance:
    """What the orders of this run have led to."""

    def __init__(self, orders: Collection[int], ways: Collection[Way], letters: list[DeadLetter]) -> None:
        self._orders = orders
        self._ways = ways
        self._letters = letters
        self._effects = {handler: _since(min(orders), effects) for handler, effects in EFFECTS.items()}

    def __str__(self) -> str:
        by_catchup = sum(way.sender == "catchup" for way in self._ways)
        invoices, confirmations = (sum(counts.values()) for counts in self._effects.values())
        return (
            f"{len(self._orders)} orders placed, {len(self._ways)} events sent and handled, "
            f"{by_catchup} of them sent by catchup\n"
            f"{invoices} invoices, {confirmations} confirmations, "
            f"{OutgoingEvent.objects.count()} events left in the outbox\n"
            f"dead letters: {len(self._letters)}, resolved: {self._count(State.RESOLVED)}, "
            f"discarded: {self._count(State.DISCARDED)}"
        )

    def is_even(self) -> bool:
        """Whether each handler took effect once for each order, but for those whose letter is not resolved."""
        return all(counts == dict.fromkeys(self._handled(name), 1) for name, counts in self._effects.items())

    def is_all_resolved(self) -> bool:
        """Whether no dead letter waits or was discarded."""
        return self._count(State.RESOLVED) == len(self._letters)

    def _handled(self, handler: str) -> list[int]:
        unresolved = (letter for letter in self._letters if letter.state != State.RESOLVED)
        failed = {letter.key_text for letter in unresolved if letter.handler == handler}
        return [order for order in self._orders if str(order) not in failed]

    def _count(self, state: State) -> int:
        return sum(letter.state == state for letter in self._letters)


def _since(first: int, effects: Effects) -> dict[int, int]:
    """How many there are for each order of this run: a database that was given to us may have others."""
    return dict(effects.objects.filter(order_id__gte=first).values_list("order_id").annotate(Count("pk")))
