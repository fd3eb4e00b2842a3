"""Lists of tables that may be large: each page looks at a window of rows, says so, and changes nothing."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db import models, router
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from django_events.admin.date_links import DateLinks, date_links
from django_events.models.windows import WINDOW, reading_along_indexes

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin


LIST_FILTERS = "_changelist_filters"
"""Django's name for the parameter with which other pages remember how the list was filtered."""


class Dates(NamedTuple):
    """The dates that the page is confined to; both may be missing, and both are included."""

    since: datetime | None = None
    until: datetime | None = None


class View(NamedTuple):
    """What a list is made from."""

    rows: models.QuerySet[Any]
    """The window."""
    title: str
    """What is in the window if it is full, such as "the newest 10,000 dead letters"."""
    first: datetime | None = None
    """The dates between which rows may be found; None if there are none, or they do not matter."""
    last: datetime | None = None


class BoundedChangeList(ChangeList):
    """A list whose filters, order, search and counts see the window of ``BoundedAdmin.view`` only."""

    model_admin: "BoundedAdmin"
    view: View

    def get_filters(self, request: HttpRequest) -> Any:
        try:
            found = super().get_filters(request)
        except ValueError as error:  # such as the year 9999, after which Django looks for the next
            raise IncorrectLookupParameters(error) from error
        specs, lookups = found[0], found[2]
        self.chosen = {name: str(value) for spec in specs for name, value in _values_of(spec)}
        self.view = self.model_admin.view(request, self.chosen, self.query, self._dates(lookups))
        self.root_queryset = self.view.rows & self.root_queryset  # which a site may have narrowed
        return found

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.is_cut = self.result_count >= WINDOW or self.view.rows.count() >= WINDOW
        self.result_list = list(self.result_list)  # now, while PostgreSQL is told how to read

    @property
    def date_links(self) -> DateLinks | None:
        """What the date hierarchy offers; Django's own looks for its dates in the whole table."""
        if not (self.date_hierarchy and self.view.first and self.view.last):
            return None
        return date_links(self.params, self.date_hierarchy, self.view.first, self.view.last, self.get_query_string)

    @property
    def count_in_words(self) -> str:
        """How many rows were found; counted up to the window's size."""
        return f"{WINDOW:,}+" if self.result_count >= WINDOW else f"{self.result_count:,}"

    @property
    def note(self) -> str:
        """What was looked at, if that is not everything."""
        if not self.is_cut:
            return ""
        return _("Looking among %(title)s. Choose filters or dates to look elsewhere.") % {"title": self.view.title}

    @property
    def filters_in_words(self) -> list[tuple[str, str]]:
        """Names and values of what is chosen beside, above and in the search box."""
        found = [
            (str(spec.title), str(choice["display"]))
            for spec in self.filter_specs
            if _values_of(spec)
            for choice in spec.choices(self)
            if choice.get("selected")
        ]
        dates = [str(self.params[name]) for name in sorted(self.params) if name.startswith(f"{self.date_hierarchy}__")]
        return (
            found
            + ([(_("dates"), " ".join(dates))] if dates else [])
            + ([(_("search"), self.query)] if self.query else [])
        )

    def _dates(self, lookups: Mapping[str, Any]) -> Dates:
        """What Django has made of the date hierarchy's parameters."""
        since, before = (lookups.get(f"{self.date_hierarchy}__{edge}") for edge in ("gte", "lt"))
        if not all(isinstance(value, list | None) for value in (since, before)):
            raise IncorrectLookupParameters
        first, last = (value[-1] if value and isinstance(value[-1], datetime) else None for value in (since, before))
        return Dates(first, last - timedelta(microseconds=1) if last else None)


def _values_of(spec: Any) -> list[tuple[str, Any]]:
    value = spec.value()
    return [] if value in (None, "") else [(spec.parameter_name, value)]


class BoundedAdmin(ModelAdmin):
    """A list that shows rows of a large table, and cannot add, change or delete any. Has no pages for single rows."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_display_links: Any = None
    actions_on_bottom = False

    class Media:
        css = {"all": ["django_events/admin.css"]}  # noqa: RUF012

    def view(self, request: HttpRequest, chosen: Mapping[str, str], text: str, dates: Dates) -> View:
        """The window for these filters (by parameter), this search text and these dates."""
        raise NotImplementedError

    def database(self, request: HttpRequest) -> str:
        """The alias of the database that is looked at."""
        return router.db_for_read(self.model)

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        rows: models.QuerySet[Any] = self.model._default_manager.using(self.database(request)).all()
        return rows

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BoundedChangeList

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        with reading_along_indexes(self.database(request)):
            return super().get_changelist_instance(request)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        title = capfirst(str(self.opts.verbose_name_plural))
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        return queryset, False  # ``view`` has searched

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return redirect(self.address("changelist"))

    def address(self, page: str, *args: Any, request: HttpRequest | None = None, **query: Any) -> str:
        """The address of a page of this model; with the ``request``, the page remembers how the list is filtered."""
        if request and (filters := self.list_filters(request)):
            query[LIST_FILTERS] = filters
        name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_{page}"
        return reverse(name, args=args) + (f"?{urlencode(query)}" if query else "")

    def list_filters(self, request: HttpRequest) -> str:
        """How the list was filtered from which the person came, as a query string; empty if they did not."""
        if request.path == self.address("changelist"):
            return request.GET.urlencode() or "state=open"
        return request.GET.get(LIST_FILTERS, "")

    def list_url(self, request: HttpRequest) -> str:
        """The list as the person left it."""
        filters = self.list_filters(request)
        return self.address("changelist") + (f"?{filters}" if filters else "")

    def context(self, request: HttpRequest, title: Any) -> dict[str, Any]:
        """What every page of ours needs beside its own."""
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "list_url": self.list_url(request),
            "media": self.media,
        }

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
