"""Years, months and days to choose from, between the first date and the last: nobody has to look which have rows."""

import calendar
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from typing import NamedTuple

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

PARTS = ("year", "month", "day")


class Link(NamedTuple):
    title: str
    link: str | None = None


class DateLinks(NamedTuple):
    """What Django's template for the date hierarchy takes."""

    back: Link | None
    choices: list[Link]


def date_links(
    params: Mapping[str, str], field: str, first: datetime, last: datetime, address: Callable[..., str]
) -> DateLinks:
    """The links for the dates that are chosen in ``params``; ``address`` is the list's ``get_query_string``."""
    chosen = _chosen(params, field)

    def link(*parts: int) -> str:
        lookups = {f"{field}__{name}": number for name, number in zip(PARTS, parts, strict=False)}
        return address(lookups, [f"{field}__"])

    days = (timezone.localtime(first).date(), timezone.localtime(last).date())
    if len(chosen) == len(PARTS):
        return DateLinks(_back(chosen, link), [Link(_title(chosen))])
    return DateLinks(_back(chosen, link), [Link(_title(parts), link(*parts)) for parts in _next(chosen, *days)])


def _chosen(params: Mapping[str, str], field: str) -> tuple[int, ...]:
    """Year, month and day, as far as they are chosen. Django has refused what is no date."""
    numbers = []
    for part in PARTS:
        if f"{field}__{part}" not in params:
            break
        numbers.append(int(params[f"{field}__{part}"]))
    return tuple(numbers)


def _next(chosen: tuple[int, ...], first: date, last: date) -> Iterator[tuple[int, ...]]:
    """The years, the months of a year, or the days of a month."""
    if not chosen:
        years = range(first.year, last.year + 1)
        # Of a single year, its months, and so on: there is nothing to choose in between.
        yield from _next((first.year,), first, last) if len(years) == 1 else ((year,) for year in years)
        return
    if len(chosen) == 1:
        months = [(*chosen, month) for month in range(1, 13) if _between(first, last, *chosen, month)]
        yield from _next(months[0], first, last) if len(months) == 1 else months
        return
    yield from ((*chosen, day) for day in range(1, 32) if _between(first, last, *chosen, day))


def _between(first: date, last: date, *parts: int) -> bool:
    return first.timetuple()[: len(parts)] <= parts <= last.timetuple()[: len(parts)] and _exists(*parts)


def _exists(year: int, month: int, day: int = 1) -> bool:
    return day <= calendar.monthrange(year, month)[1]


def _back(chosen: tuple[int, ...], link: Callable[..., str]) -> Link | None:
    if not chosen:
        return None
    before = chosen[:-1]
    return Link(_title(before) if before else _("All dates"), link(*before))


def _title(parts: tuple[int, ...]) -> str:
    if len(parts) == 1:
        return str(parts[0])
    shown = date(*(*parts, 1)[:3])
    return date_format(shown, "YEAR_MONTH_FORMAT" if len(parts) == 2 else "MONTH_DAY_FORMAT").capitalize()
