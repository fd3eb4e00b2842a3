"""No page of the admin reads more rows than it says, however many there are and whatever the statistics say.

DJANGO_EVENTS_BIG=1000000 fills the tables with as many dead letters and five times as many processed events; with -s
it then tells which statement read most, and which pages took longest.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test import Client

from django_events.admin.dead_letters import DeadLetterAdmin
from django_events.models import DeadLetter
from django_events.models.windows import WINDOW
from tests.big_tables import BIG, filling

pytestmark = [pytest.mark.postgres, pytest.mark.django_db]

LETTERS = int(os.environ.get("DJANGO_EVENTS_BIG", "70000"))
"""More than a search may read; and of each handler, each group and the hot key there are more than a list may read."""

PROCESSED = 5 * LETTERS if "DJANGO_EVENTS_BIG" in os.environ else 100_000

LISTED = WINDOW + 500
"""Rows that a list reads: its window, and its choices and ends."""

SEARCHED = 6 * WINDOW + 500
"""Rows that a search reads: the window, what begins so in two indexes, and what was found by its key."""

FILTERS = {
    "state": ["open", "waiting", "running", "resolved", "discarded", "all"],
    "topic": ["shop.topic-1", "shop.rare", "nobody's"],
    "group": ["group-1", "rare"],
    "handler": ["group-1/handler-1", "rare/handler-0"],
    "failure": ["1", "4"],
    "key": ["key-17", "hot", "nobody's"],
    "attempts": ["1", "21-"],
    "first": ["hour", "older"],
    "last": ["hour", "older"],
    "next": ["now", "later", "behind", "asked", "undeclared"],
    "last_failed__year": ["2026"],
    "o": ["8", "-5.1", "7", "10"],
}


def fill() -> None:
    with connection.cursor() as cursor:
        for statement in filling(LETTERS, PROCESSED):
            cursor.execute(statement)
        cursor.execute("DISCARD PLANS")  # foreign keys are checked at the end, else with plans for empty tables


def analyze() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE " + ", ".join(BIG))


class Reader:
    """Explains every statement about a big table at the moment in which it is executed, and counts rows."""

    def __init__(self) -> None:
        self.most = 0
        self.is_explaining = False

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not self.is_explaining and sql.startswith("SELECT") and any(table in sql for table in BIG):
            self.is_explaining = True
            self.most = max(self.most, self._rows(sql, params))
            self.is_explaining = False
        return execute(sql, params, many, context)

    def _rows(self, sql: str, params: Any) -> int:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}", params)
            (found,) = cursor.fetchone()
        plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
        scans = [node for node in nodes(plan) if node.get("Relation Name") in BIG]
        assert not [scan for scan in scans if scan["Node Type"] in ("Seq Scan", "Bitmap Heap Scan")], (sql, plan)
        return sum(round((scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0)) * scan["Actual Loops"])
                   for scan in scans)  # fmt: skip


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


@contextmanager
def reading_at_most(rows: int, page: str) -> Iterator[None]:
    """Each statement inside may read so many rows of the big tables."""
    reader = Reader()
    with connection.execute_wrapper(reader):
        yield
    MOST[page] = max(reader.most, MOST.get(page, 0))
    assert reader.most <= rows, (page, reader.most)


def get(client: Client, rows: int, page: str, **query: str) -> str:
    address = f"/admin/django_events/{page}?{urlencode(query)}"
    with reading_at_most(rows, address):
        answer = client.get(address)
    assert answer.status_code == 200, address
    if "DJANGO_EVENTS_BIG" in os.environ:
        began = time.perf_counter()
        client.get(address)
        TIMES[address] = max(time.perf_counter() - began, TIMES.get(address, 0.0))
    return answer.content.decode()


TIMES: dict[str, float] = {}
MOST: dict[str, int] = {}
"""Seconds that each page took, and the rows that its largest statement read."""


@pytest.fixture
def visitor(admin_client: Client) -> Iterator[Client]:
    TIMES.clear()
    MOST.clear()
    yield admin_client
    for address, seconds in sorted(TIMES.items(), key=lambda pair: -pair[1])[:10]:
        sys.stdout.write(f"{seconds * 1000:5.0f} ms  {address}\n")
    for address, rows in sorted(MOST.items(), key=lambda pair: -pair[1])[:5]:
        sys.stdout.write(f"{rows:,} rows  {address}\n")


def test_without_statistics_and_with_new_ones(visitor: Client) -> None:
    fill()
    look_at_every_page(visitor)
    analyze()
    look_at_every_page(visitor)


def test_with_statistics_of_empty_tables(visitor: Client) -> None:
    analyze()
    fill()
    look_at_every_page(visitor)


def look_at_every_page(visitor: Client) -> None:
    """Each reads no more rows than it says, and says so."""
    for name, values in FILTERS.items():
        for value in values:
            get(visitor, LISTED, "deadletter/", **{name: value})
    with pytest.MonkeyPatch.context() as short:  # most of the time goes into lines that have been seen above
        short.setattr(DeadLetterAdmin, "list_per_page", 5)
        for one, other in combinations(FILTERS, 2):
            get(visitor, LISTED, "deadletter/", **{one: FILTERS[one][0], other: FILTERS[other][-1]})
    get(visitor, LISTED, "deadletter/", p="90")
    for term in ("e-1", "hot", "key-17", "number", "nowhere"):
        get(visitor, SEARCHED, "deadletter/", q=term)
        get(visitor, SEARCHED, "deadletter/", q=term, state="all", topic="shop.topic-1", next="now", o="-5")
    letter = DeadLetter.objects.filter(state="waiting").latest("id")
    for page in ("change", "edit", "payload"):
        get(visitor, 50, f"deadletter/{letter.pk}/{page}/")
    get(visitor, 50, "deadletter/retry/", ids=str(letter.pk))
    get(visitor, LISTED, "outgoingevent/")
    get(visitor, LISTED, "outgoingevent/", q="e-7")
    get(visitor, LISTED, "processedevent/")
    get(visitor, LISTED, "processedevent/", q="e-7")
    get(visitor, LISTED, "processedevent/", p="90")
    get(visitor, LISTED, "failure/", q="no", group="group-1")
    get(visitor, LISTED, "process/")
    for action in ("retry", "discard"):
        with reading_at_most(2 * LISTED, action):
            given = {"action": action, "select_across": "1", "_selected_action": str(letter.pk)}
            answer = visitor.post("/admin/django_events/deadletter/?state=all", given)
        assert "At most 10,000" in answer.content.decode()
    page = get(visitor, LISTED, "deadletter/")
    assert "Looking among the newest 10,000 open dead letters." in page
    assert "10,000+ dead letters" in page
    page = get(visitor, LISTED, "deadletter/", topic="shop.topic-1", state="all")
    assert "Looking among the newest 10,000 dead letters of topic shop.topic-1." in page
    page = get(visitor, LISTED, "deadletter/", topic="shop.rare", state="all")
    assert "Looking among" not in page
    assert "99 dead letters" in page
