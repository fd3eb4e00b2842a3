"""What a process consumes, as a page for people or as JSON. Made from declarations and settings; asks nobody."""

import platform
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import django
from django.db import connections

from django_events import __version__, tables
from django_events.broadcasting import BroadcastHandler
from django_events.calling import Batch
from django_events.conf import settings
from django_events.consuming.attempt import database_of
from django_events.consuming.letters import database_of_letters
from django_events.consuming.limits import Limits
from django_events.consuming.sharing import MOST
from django_events.failures import OnFailure
from django_events.handlers import ConsumerGroup, Delivery, Handler
from django_events.kafka import config
from django_events.management.table import Column, Table

WIDTH = 100
"""Columns that the page has at most."""

NONE = "none: settings.DJANGO_EVENTS['DATABASES'] is empty"

HANDLERS = (
    Column(title="HANDLER", least=12),
    Column(title="TOPIC", least=16),
    Column(title="DELIVERY"),
    Column(title="ON FAILURE", least=12),
    Column(title="CALLED", least=12),
)


BROADCASTS = (
    Column(title="HANDLER", least=12),
    Column(title="TOPIC", least=16),
    Column(title="WHEN IT FAILS", least=12),
    Column(title="CALLED", least=12),
    Column(title="AFTER A GAP", least=12),
)


@dataclass(frozen=True, slots=True)
class Page:
    """What a process consumes. Immutable."""

    groups: Sequence[ConsumerGroup]
    broadcasts: Sequence[BroadcastHandler]
    limits: Limits


def lines(page: Page, width: int) -> Iterator[str]:
    """The page for people, no wider than ``width`` or 100 columns."""
    yield f"django_events {__version__} on Django {django.__version__} and Python {platform.python_version()}"
    yield from _titled("Databases", [_database_text(each) for each in _databases(page.groups)] or [NONE])
    yield from _titled("Kafka", _wrapped(config.brokers().replace(",", " ").split()))
    if settings.PREFIX:
        yield from _titled("Prefix", [settings.PREFIX])
    limits = page.limits
    for group in page.groups:
        yield ""
        yield f"{group.name}: {_workers_text(limits.workers_of(group))}, from {_start_text(group)}"
        yield f"  in hand: up to {limits.in_hand_of(group):,} events a partition, {limits.active_of(group):,} in all"
        rows = [row for handler in group.handlers for row in _rows(handler)]
        for line in Table(HANDLERS, min(width, WIDTH) - 2).lines(rows):
            yield f"  {line}"
    if page.broadcasts:
        yield ""
        yield "broadcast: every event that is sent from now on, in this process as in every other"
        rows = [row for declared in page.broadcasts for row in _broadcast_rows(declared)]
        for line in Table(BROADCASTS, min(width, WIDTH) - 2).lines(rows):
            yield f"  {line}"


def facts(page: Page) -> dict[str, Any]:
    """The same for a program, with everything that was declared."""
    return {
        "version": __version__,
        "databases": _databases(page.groups),
        "brokers": config.brokers(),
        "prefix": settings.PREFIX,
        "groups": [_group_facts(group, page.limits) for group in page.groups],
        "broadcast": [_broadcast_facts(declared) for declared in page.broadcasts],
    }


def _databases(groups: Sequence[ConsumerGroup]) -> list[dict[str, Any]]:
    """Those in which handlers have their transactions and letters are; no passwords."""
    if tables.there_are_none():
        return []
    handlers = [handler for group in groups for handler in group.handlers]
    aliases = {database_of(handler) for handler in handlers if handler.delivery is Delivery.EXACTLY_ONCE}
    found = []
    for alias in sorted(aliases | {database_of_letters()}):
        options = connections[alias].settings_dict
        facts = {"alias": alias, "vendor": connections[alias].vendor, "name": str(options["NAME"])}
        found.append(facts | {"host": options.get("HOST") or "", "port": str(options.get("PORT") or "")})
    return found


def _database_text(database: dict[str, Any]) -> str:
    server = f"{database['host']}:{database['port']}".strip(":")
    return f"{database['alias']}: {database['vendor']} {database['name']}" + (f" at {server}" if server else "")


def _titled(title: str, texts: Sequence[str]) -> Iterator[str]:
    """The texts below each other, the title in front of the first."""
    for number, text in enumerate(texts):
        yield f"{'' if number else title:11}{text}"


def _wrapped(words: Sequence[str]) -> list[str]:
    return textwrap.wrap(", ".join(words), WIDTH - 11, break_long_words=False, break_on_hyphens=False)


def _workers_text(count: int) -> str:
    return "1 worker" if count == 1 else f"{count:,} workers"


def _start_text(group: ConsumerGroup) -> str:
    texts = {"earliest": "the oldest event", "latest": "what is sent from now on"}
    start = _start(group)
    return texts.get(start, start)


def _start(group: ConsumerGroup) -> str:
    return group.start if isinstance(group.start, str) else group.start.isoformat(sep=" ", timespec="seconds")


def _rows(handler: Handler) -> Iterator[list[str]]:
    """As many as the handler has topics, or things to say of how it is called; the rest is in the first."""
    first = [[handler.name], [*handler.sources], [handler.delivery.value], [_failure_text(handler)]]
    return map(list, zip_longest(*first, list(_ways_of_calling(handler)), fillvalue=""))


def _broadcast_rows(declared: BroadcastHandler) -> Iterator[list[str]]:
    handler = declared.handler
    first = [[handler.name], [*handler.sources], [f"dropped after {handler.policy.timeout:g} s"]]
    after = [_name_of(declared.on_gap) if declared.on_gap else "a warning"]
    return map(list, zip_longest(*first, list(_ways_of_calling(handler)), after, fillvalue=""))


def _broadcast_facts(declared: BroadcastHandler) -> dict[str, Any]:
    handler, batch = declared.handler, declared.handler.calling.batch
    return {
        "handler": handler.name,
        "topics": list(handler.sources),
        "timeout": handler.policy.timeout,
        "batch": _batch_facts(batch),
        "on_gap": _name_of(declared.on_gap) if declared.on_gap else None,
    }


def _name_of(function: object) -> str:
    return getattr(function, "__qualname__", repr(function))


def _batch_facts(batch: Batch | None) -> dict[str, Any] | None:
    return {"size": batch.size, "parallel": batch.parallel, "wait": batch.wait} if batch else None


def _failure_text(handler: Handler) -> str:
    policy = handler.policy
    what: str = policy.on_failure.value
    if policy.on_failure is OnFailure.BLOCK:
        return what
    bounds = []
    if policy.attempts is not None:
        bounds.append("1 try" if policy.attempts == 1 else f"{policy.attempts} tries")
    if policy.timeout is not None and policy.attempts != 1:
        bounds.append(f"{policy.timeout:g} s")
    return f"{what} after {' or '.join(bounds)}"


def _ways_of_calling(handler: Handler) -> Iterator[str]:
    how = handler.calling
    if how.batch:
        yield f"with up to {how.batch.size}, {how.batch.parallel} at once"
        if how.batch.wait:
            yield f"waits {how.batch.wait:g} s for them"
    elif handler.shares_transactions:
        yield f"up to {MOST} a transaction"
    else:
        yield "one by one"
    if how.concurrency is not None:
        yield f"{how.concurrency} at once"
    if not how.ordered:
        yield "in any order"
    if how.using:
        yield f"in database {how.using}"


def _group_facts(group: ConsumerGroup, limits: Limits) -> dict[str, Any]:
    return {
        "group": group.name,
        "workers": limits.workers_of(group),
        "max_outstanding": limits.in_hand_of(group),
        "max_outstanding_in_all": limits.active_of(group),
        "start": _start(group),
        "handlers": [_handler_facts(handler) for handler in group.handlers],
    }


def _handler_facts(handler: Handler) -> dict[str, Any]:
    how, policy = handler.calling, handler.policy
    return {
        "handler": handler.name,
        "topics": list(handler.sources),
        "delivery": handler.delivery.value,
        "on_failure": policy.on_failure.value,
        "tries": policy.attempts,
        "timeout": policy.timeout,
        "batch": _batch_facts(how.batch),
        "concurrency": how.concurrency,
        "ordered": how.ordered,
        "shared_transaction": handler.shares_transactions,
        "database": database_of(handler) if handler.delivery is Delivery.EXACTLY_ONCE else None,
        "dead_letters_of": handler.dead_letters_of,
    }
