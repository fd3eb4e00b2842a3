"""What the demo tells: each event's way when it has come to its end, and whatever becomes of dead letters."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from django.conf import settings

from django_events import handlers
from django_events.models import DeadLetter, State
from testproject.demo.journal import JournalReader
from testproject.demo.letters import Letters
from testproject.demo.ways import Way, Ways


class News:
    """Tells of orders what was not told yet. ``say`` prints a line."""

    def __init__(self, say: Callable[[str], None], letters: Letters) -> None:
        self._say = say
        self._letters = letters
        self._journal = JournalReader(Path(settings.DEMO_JOURNAL))
        self._ways = Ways()
        self._handlers = [str(handler) for group in handlers.declared() for handler in group.handlers]
        self._ended: set[int] = set()
        self._told: dict[int, DeadLetter] = {}
        """Letters as they were when they were told of."""

    def tell(self, orders: Collection[int]) -> bool:
        """Tell what is new; whether each of these orders has come to an end: it is handled, or a dead letter."""
        self._ways.take(self._journal.news())
        letters = self._letters.of(orders)
        waiting = self._ways.by_order()
        for order in sorted(set(orders) & waiting.keys() - self._ended):
            mine = [letter for letter in letters if letter.key_text == str(order)]
            if self._has_ended(waiting[order], mine):
                self._ended.add(order)
                self._say(" → ".join([str(waiting[order]), *map(_dead_letter, mine)]))
        for letter in letters:
            self._tell_changes(letter)
        return self._ended >= set(orders)

    def ways_of(self, orders: Collection[int]) -> list[Way]:
        """The ways of these orders, as far as they were told."""
        ended = self._ended & set(orders)
        return [way for order, way in self._ways.by_order().items() if order in ended]

    def _has_ended(self, way: Way, letters: list[DeadLetter]) -> bool:
        failed = {f"{letter.group_name}/{letter.handler}" for letter in letters}
        return way.has_arrived_at(handler for handler in self._handlers if handler not in failed)

    def _tell_changes(self, letter: DeadLetter) -> None:
        before = self._told.get(letter.pk)
        self._told[letter.pk] = letter
        steps = list(_steps(before, letter)) if before else []
        if steps:
            self._say(f"order {letter.key_text:<4} dead letter {letter.pk} {' → '.join(steps)}")


def _dead_letter(letter: DeadLetter) -> str:
    return f"dead letter {letter.pk} of {letter.group_name}/{letter.handler}: {letter.message}"


def _steps(before: DeadLetter, now: DeadLetter) -> Iterator[str]:
    """What has happened to a letter."""
    if now.edited_value != before.edited_value:
        yield "is edited"
    if now.retries > before.retries:
        yield f"fails again: {now.message}"
    if now.state != before.state and now.state == State.RESOLVED:
        yield f"is retried → {now.group_name}/{now.handler} → resolved"
    if now.state != before.state and now.state == State.DISCARDED:
        yield f"is discarded by {now.closed_by}: {now.reason}"
