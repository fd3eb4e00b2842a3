"""Which dead letters a verb is about: its filters as options and as a query, and walks through what matches.

A walk holds one chunk in memory, whatever the number of letters, and each chunk is a query of its own: no cursor or
transaction stays open meanwhile.
"""

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import Q, QuerySet

from django_events.consuming.letters import database_of_letters
from django_events.management import arguments
from django_events.models import IS_OPEN, DeadLetter, State
from django_events.models.dead_letters import SHOWN

Letters = QuerySet[DeadLetter]
Options = dict[str, Any]

FILTERS = ("topic", "group", "handler", "key", "event_id", "error", "failed_since", "failed_before", "ids")


def add_filters(parser: CommandParser, limit: str) -> None:
    """The options that ``letters`` understands; ``limit`` says what holds without --limit."""
    add = parser.add_argument
    add(
        "--state",
        choices=("open", *State.values, "all"),
        help="default: open, which is waiting or running; with --id: all",
    )
    add("--topic", type=arguments.some_text, metavar="NAME", help="without prefix")
    add("--group", type=arguments.some_text, metavar="NAME", help="the consumer group, without prefix")
    add("--handler", type=arguments.some_text, metavar="NAME", help="the handler, as NAME or GROUP/NAME")
    add("--key", metavar="TEXT", help="the event's key")
    add("--event-id", type=arguments.some_text, metavar="ID")
    add(
        "--error", type=arguments.some_text, metavar="TEXT", help="a part of the last error's type or text, in any case"
    )
    add("--failed-since", type=arguments.moment, metavar="TIME", help="last failure then or later, as 2026-01-31T09:00")
    add("--failed-before", type=arguments.moment, metavar="TIME", help="last failure earlier than that")
    add("--id", type=arguments.row_id, action="append", dest="ids", metavar="ID", help="a letter; may be repeated")
    add("--limit", type=arguments.whole_number, metavar="N", help=f"at most so many (default: {limit})")


def is_narrowed(options: Options) -> bool:
    """Whether there is any filter beside the state."""
    return any(options[name] is not None for name in FILTERS)


def letters(options: Options) -> Letters:
    """The letters that match the filters. Raises CommandError for an id that no letter has."""
    rows = DeadLetter.objects.using(database_of_letters())
    conditions = [_of_state(options), _of_handler(options["handler"]), *_of_texts(options), *_of_times(options)]
    if options["ids"]:
        _check_ids(rows, options["ids"])
        conditions.append(Q(pk__in=options["ids"]))
    return rows.filter(*conditions)


def count(rows: Letters, limit: int | None) -> int:
    """How many match, and are within the limit."""
    return rows.count() if limit is None else min(rows.count(), limit)


def oldest_first(rows: Letters, size: int, limit: int | None) -> Iterator[list[DeadLetter]]:
    """Chunks by id. Letters that come after the walk has begun are left out."""
    newest = rows.order_by("-pk").values_list("pk", flat=True).first() or 0
    rows, last = rows.filter(pk__lte=newest).order_by("pk"), 0
    while chunk := list(rows.filter(pk__gt=last)[: _smaller(size, limit)]):
        yield chunk
        last = chunk[-1].pk
        limit = limit and limit - len(chunk)
        if limit == 0:
            return


def last_failed_first(rows: Letters, size: int, limit: int | None) -> Iterator[list[DeadLetter]]:
    """Chunks by the time of the last failure."""
    rest = rows = rows.order_by("-last_failed", "-pk")
    while chunk := list(rest[: _smaller(size, limit)]):
        yield chunk
        last = chunk[-1]
        rest = rows.filter(Q(last_failed__lt=last.last_failed) | Q(pk__lt=last.pk), last_failed__lte=last.last_failed)
        limit = limit and limit - len(chunk)
        if limit == 0:
            return


def _smaller(size: int, limit: int | None) -> int:
    return size if limit is None else min(size, limit)


def _of_state(options: Options) -> Q:
    state = options["state"] or ("all" if options["ids"] else "open")
    return {"open": IS_OPEN, "all": Q()}.get(state, Q(state=state))


def _of_handler(name: str | None) -> Q:
    group, slash, handler = (name or "").partition("/")
    if not slash:
        return Q(handler=name) if name else Q()
    return Q(group_name=group, handler=handler)


def _of_texts(options: Options) -> Iterator[Q]:
    if options["topic"] is not None:
        yield Q(topic=options["topic"])
    if options["group"] is not None:
        yield Q(group_name=options["group"])
    if options["key"] is not None:
        yield _of_key(options["key"])
    if options["event_id"] is not None:
        yield Q(event_id=options["event_id"][:SHOWN])
    if options["error"] is not None:
        yield Q(exception__icontains=options["error"]) | Q(message__icontains=options["error"])


def _of_key(text: str) -> Q:
    """By the index of its beginning; of a key that is longer than that, all must be equal."""
    shown = Q(key_text=arguments.whole_characters(text)[:SHOWN])
    return shown if len(text) < SHOWN else shown & Q(key=text.encode("utf-8", "surrogateescape"))


def _of_times(options: Options) -> Iterator[Q]:
    if options["failed_since"] is not None:
        yield Q(last_failed__gte=options["failed_since"])
    if options["failed_before"] is not None:
        yield Q(last_failed__lt=options["failed_before"])


def _check_ids(rows: QuerySet[DeadLetter], ids: list[int]) -> None:
    missing = sorted(set(ids) - set(rows.filter(pk__in=ids).values_list("pk", flat=True)))
    if missing:
        numbers = ", ".join(map(str, missing[:10])) + " …" * (len(missing) > 10)
        raise CommandError(f"No dead letter has the id {numbers}. See: manage.py events dead-letters list --state all")
