"""Which dead letters the list looks at: the newest along one index, which the filters choose."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Max, Min, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from django_events.admin.bounded import Dates, View
from django_events.admin.letter_filters import AGES, OLDER, OPEN
from django_events.models import IS_OPEN, DeadLetter, Failure, State
from django_events.models.dead_letters import SHOWN
from django_events.models.windows import WINDOW, window


class Place(NamedTuple):
    """Where in which index the letters lie next to each other."""

    columns: tuple[str, ...]
    values: tuple[Any, ...]
    """Of the first columns."""
    words: str

    @property
    def is_dated(self) -> bool:
        """Whether they lie there in the order of their last failures."""
        return self.columns[-1] == "last_failed"


def letters(chosen: Mapping[str, str], dates: Dates, using: str) -> View:
    """The window for these filters. What else they ask for is looked for inside."""
    place = _place(chosen, using)
    rows = _rows(chosen, place, using)
    first, last = _ends(rows, place)
    return View(_window(rows, place, _confined(chosen, dates)), _title(chosen, place), first, last)


def _place(chosen: Mapping[str, str], using: str) -> Place:
    """The index that leaves the fewest letters, in a fixed order, so that nobody has to guess."""
    if failure := chosen.get("failure", ""):
        found = Failure.objects.using(using).filter(pk=failure).first()
        return Place(("failure_id", "last_failed"), (int(failure),), str(found or failure))
    if key := chosen.get("key", ""):
        return Place(("key_text",), (key[:SHOWN],), _("key %s") % key)
    if handler := chosen.get("handler", ""):
        group, _slash, name = handler.partition("/")
        return Place(("group_name", "handler", "last_failed"), (group, name), handler)
    if topic := chosen.get("topic", ""):
        return Place(("topic", "last_failed"), (topic,), _("topic %s") % topic)
    if group := chosen.get("group", ""):
        return Place(("group_name", "last_failed"), (group,), _("group %s") % group)
    return Place(("last_failed",), (), "")


def _rows(chosen: Mapping[str, str], place: Place, using: str) -> QuerySet[DeadLetter]:
    rows = DeadLetter.objects.using(using).all()
    return rows.filter(IS_OPEN) if _has_only_open(chosen, place) else rows


def _has_only_open(chosen: Mapping[str, str], place: Place) -> bool:
    """Whether closed letters can be left out by an index."""
    return place.is_dated and chosen.get("state") in (OPEN, State.WAITING, State.RUNNING)


def _window(rows: QuerySet[DeadLetter], place: Place, dates: Dates) -> QuerySet[DeadLetter]:
    lowest = [dates.since] if dates.since and place.is_dated else []
    highest = [dates.until] if dates.until and place.is_dated else []
    return window(rows, place.columns, [*place.values, *lowest], [*place.values, *highest])


def _ends(rows: QuerySet[DeadLetter], place: Place) -> tuple[datetime | None, datetime | None]:
    """When the first and the last of the letters failed: a look-up each, where the index says so."""
    if not place.is_dated:
        found = _window(rows, place, Dates()).aggregate(first=Min("last_failed"), last=Max("last_failed"))
        return found["first"], found["last"]
    ends = [
        window(rows, place.columns, place.values, place.values, backwards=backwards, size=1)
        for backwards in (False, True)
    ]
    first, last = (end.values_list("last_failed", flat=True).first() for end in ends)
    return first, last


def _confined(chosen: Mapping[str, str], dates: Dates) -> Dates:
    """The dates chosen above the list, and those of the filter beside it."""
    now = timezone.now()
    age = chosen.get("last", "")
    since = [dates.since, now - AGES[age] if age in AGES else None]
    until = [dates.until, now - OLDER if age == "older" else None]
    return Dates(max(filter(None, since), default=None), min(filter(None, until), default=None))


def _title(chosen: Mapping[str, str], place: Place) -> str:
    words = {"count": f"{WINDOW:,}", "place": place.words}
    if not place.is_dated:
        return _("%(count)s dead letters of %(place)s") % words
    if _has_only_open(chosen, place):
        title = (
            _("the newest %(count)s open dead letters of %(place)s")
            if place.words
            else _("the newest %(count)s open dead letters")
        )
    else:
        title = (
            _("the newest %(count)s dead letters of %(place)s")
            if place.words
            else _("the newest %(count)s dead letters")
        )
    return title % words
