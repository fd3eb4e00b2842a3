"""Bounded looks at tables that may be large: so many rows along one index, and nothing beyond them.

What people look at is read from a window in place of the table. A subquery with LIMIT is a wall for the planner:
whatever the result is filtered, ordered and counted by stays inside, whatever the statistics say.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import connections, models, transaction
from django.db.models import F, Func, OrderBy, Value
from django.db.models.sql.datastructures import BaseTable

from django_events.models.statements import fetch

WINDOW = 10_000
"""Rows that a page looks at."""

M = TypeVar("M", bound=models.Model)


def window(
    rows: models.QuerySet[M],
    index: Sequence[str],
    lowest: Sequence[Any] = (),
    highest: Sequence[Any] = (),
    *,
    backwards: bool = True,
    size: int = WINDOW,
) -> models.QuerySet[M]:
    """The first rows of this index, from its end or its beginning, as a table of their own.

    ``lowest`` and ``highest`` are values of the index's first columns, both included. ``rows`` may have a condition;
    it costs nothing if it is the condition of a partial index. Not for changing rows.
    """
    for edge, values in ((_AtLeast, lowest), (_AtMost, highest)):
        if values:
            rows = rows.filter(edge(*_sides(rows.model, index[: len(values)], values)))
    # All columns, although those of equal values say nothing: then no other index has this order.
    return as_table(rows.order_by(*(f"{'-' if backwards else ''}{column}" for column in index))[:size])


def as_table(rows: models.QuerySet[M]) -> models.QuerySet[M]:
    """A queryset that has these rows, which are limited, in place of its table."""
    table = rows.model._default_manager.using(rows.db).all()
    alias = table.query.get_initial_alias()
    table.query.alias_map[alias] = _Rows(rows, alias)
    return table


def beginning_with(rows: models.QuerySet[M], column: str, prefix: str) -> models.QuerySet[M]:
    """Rows whose text in an indexed column begins so, as a table of their own."""
    found = rows.filter(**{f"{column}__startswith": prefix})
    return as_table(found.order_by(_AsPatternsAre(F(column)))[:WINDOW])


@contextmanager
def reading_along_indexes(using: str) -> Iterator[None]:
    """PostgreSQL reads windows along their index, and rows by their key, however wrong its statistics are."""
    if connections[using].vendor != "postgresql":
        yield
        return
    with transaction.atomic(using=using):
        before = fetch(using, _SQL_SETTINGS, [_MISLEADING])
        fetch(using, _SQL_SET, [_MISLEADING, ["off"] * len(_MISLEADING)])
        yield
        fetch(using, _SQL_SET, [list(column) for column in zip(*before, strict=True)])


# Plans that read all rows that fit, and so perhaps every one. jit: a plan that looks expensive would be compiled.
_MISLEADING = [
    "enable_seqscan",
    "enable_bitmapscan",
    "enable_sort",
    "enable_incremental_sort",
    "enable_hashjoin",
    "enable_mergejoin",
    "jit",
]
_SQL_SETTINGS = "SELECT name, current_setting(name) FROM unnest(%s::text[]) AS name"
_SQL_SET = "SELECT set_config(name, value, true) FROM unnest(%s::text[], %s::text[]) AS wanted (name, value)"


class _Rows(BaseTable):
    """Stands in a FROM clause for its model's table, and has some of its rows."""

    def __init__(self, rows: models.QuerySet[Any], alias: str) -> None:
        super().__init__(rows.model._meta.db_table, alias)
        self.rows = rows

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        sql, params = self.rows.query.get_compiler(connection=connection).as_sql()
        return f"({sql}) {compiler.quote_name_unless_alias(self.table_alias)}", list(params)

    def relabeled_clone(self, change_map: Any) -> "_Rows":
        return _Rows(self.rows, change_map.get(self.table_alias, self.table_alias))


class _AsPatternsAre(OrderBy):
    """The order of the index that PostgreSQL has for prefixes (``varchar_pattern_ops``)."""

    def as_postgresql(self, compiler: Any, connection: Any) -> Any:
        # Django looks for the word ASC in what orders, which PostgreSQL does not have here.
        return self.as_sql(compiler, connection, template="%(expression)s USING ~<~ /* ASC */")


class _Row(Func):
    """Values that are compared one after the other, as an index orders them."""

    template = "(%(expressions)s)"
    output_field = models.TextField()


class _AtLeast(Func):
    template = "%(expressions)s"
    arg_joiner = " >= "
    output_field = models.BooleanField()


class _AtMost(_AtLeast):
    arg_joiner = " <= "


def _sides(model: type[models.Model], columns: Sequence[str], values: Sequence[Any]) -> tuple[_Row, _Row]:
    fields: list[Any] = [model._meta.get_field(column) for column in columns]
    return (
        _Row(*(F(column) for column in columns)),
        _Row(*(Value(value, output_field=field) for value, field in zip(values, fields, strict=True))),
    )
