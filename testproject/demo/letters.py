"""The dead letters of this run of the demo."""

from collections.abc import Collection

from django_events.models import DeadLetter


class Letters:
    """Those that come after this object: a database that was given to us may have others."""

    def __init__(self) -> None:
        self._before = DeadLetter.objects.order_by("-pk").values_list("pk", flat=True).first() or 0

    def of(self, orders: Collection[int]) -> list[DeadLetter]:
        """The letters of these orders, oldest first."""
        keys = set(map(str, orders))
        found = DeadLetter.objects.filter(pk__gt=self._before).order_by("pk").defer("value", "headers")
        return [letter for letter in found if letter.key_text in keys]
