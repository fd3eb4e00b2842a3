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

from django_events.models import DeadLetter, DeadLetterAttempt, Failure, OutgoingEvent, ProcessedEvent
from django_events.models.windows import WINDOW

pytestmark = [pytest.mark.postgres, pytest.mark.django_db]

LETTERS = int(os.environ.get("DJANGO_EVENTS_BIG", "150000"))
PROCESSED = 5 * LETTERS if "DJANGO_EVENTS_BIG" in os.environ else 400_000
BIG = [model._meta.db_table for model in (DeadLetter, DeadLetterAttempt, ProcessedEvent, OutgoingEvent)]

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

FILL = [
    f"""
    INSERT INTO {Failure._meta.db_table}
        (id, fingerprint, group_name, handler, topic, exception, message, first_seen, last_seen, letters_ever,
         letters_open)
    SELECT n, md5(n::text)::uuid, CASE n WHEN 4 THEN 'rare' ELSE 'group-' || n % 2 END, 'handler-' || n % 3,
        CASE n WHEN 4 THEN 'shop.rare' ELSE 'shop.topic-' || n % 3 END, 'ValueError', 'no', now(), now(), 1, 1
    FROM generate_series(0, 6) n
    """,
    # The newest tenth is of another topic than most others; "rare" is far back, and closed but for a few.
    f"""
    INSERT INTO {DeadLetter._meta.db_table}
        (state, topic, group_name, handler, key_text, event_id, failure_id, exception, message, attempts, retries,
         first_failed, last_failed, automatic, due_at, closed_by, reason, value, headers, partition, "offset",
         letter_partition, letter_offset, event_key, queue_key)
    SELECT CASE WHEN n % 3 = 0 THEN 'waiting' WHEN n % 1000 = 1 THEN 'running' WHEN n % 3 = 1 THEN 'resolved'
                ELSE 'discarded' END,
        CASE WHEN n < 100 THEN 'shop.rare' WHEN n > {LETTERS} * 0.9 THEN 'shop.topic-2' ELSE 'shop.topic-1' END,
        CASE WHEN n < 100 THEN 'rare' ELSE 'group-' || n % 2 END, 'handler-' || n % 3,
        CASE WHEN n % 5 = 0 THEN 'hot' ELSE 'key-' || n % 5000 END, 'e-' || n, CASE WHEN n < 100 THEN 4 ELSE 1 END,
        'ValueError', 'no', n % 30, 0, now() - ({LETTERS} - n) * interval '1 minute' - interval '1 day',
        now() - ({LETTERS} - n) * interval '1 minute', n % 2 = 0,
        CASE WHEN n % 6 = 0 THEN now() END, '', '',
        convert_to('{{"number": ' || n || '}}', 'UTF8'), '\\x90', 0, n, 0, n,
        md5(n::text)::uuid, md5((n % 5000)::text)::uuid
    FROM generate_series(1, {LETTERS}) n
    """,
    f"""
    INSERT INTO {DeadLetterAttempt._meta.db_table}
        (letter_id, attempts, began, ended, exception, message, traceback, host)
    SELECT id, 1, last_failed, last_failed, 'ValueError', 'no', 'Traceback', '' FROM {DeadLetter._meta.db_table}
    """,
    f"""
    INSERT INTO {OutgoingEvent._meta.db_table} (topic, lane, event_id, key, value, headers)
    SELECT 'shop.topic-1', n % 16, 'e-' || n, '', '', '\\x90' FROM generate_series(1, {LETTERS}) n
    """,
    f"""
    INSERT INTO {ProcessedEvent._meta.db_table} (key, topic, source, event_id, group_name, handler, processed_at)
    SELECT md5(n::text)::uuid, 'shop.topic-1', 'shop', 'e-' || n, 'group-1', 'handler-1', now() - n * interval '1 s'
    FROM generate_series(1, {PROCESSED}) n
    """,
]


@pytest.fixture
def big_tables(db: None) -> None:
    """Many rows, that PostgreSQL has never looked at."""
    with connection.cursor() as cursor:
        for statement in FILL:
            cursor.execute(statement)


@pytest.fixture
def analyzed(big_tables: None) -> None:
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
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
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
    MOST[page] = reader.most
    assert reader.most <= rows, (page, reader.most)


def get(client: Client, rows: int, page: str, **query: str) -> str:
    address = f"/admin/django_events/{page}?{urlencode(query)}"
    with reading_at_most(rows, address):
        answer = client.get(address)
    assert answer.status_code == 200, address
    if "DJANGO_EVENTS_BIG" in os.environ:
        began = time.perf_counter()
        client.get(address)
        TIMES[address] = time.perf_counter() - began
    return answer.content.decode()


TIMES: dict[str, float] = {}
MOST: dict[str, int] = {}
"""Seconds that each page took, and the rows that its largest statement read."""


@pytest.fixture(params=["never analyzed", "analyzed"])
def visitor(request: pytest.FixtureRequest, big_tables: None, admin_client: Client) -> Iterator[Client]:
    if request.param == "analyzed":
        request.getfixturevalue("analyzed")
    TIMES.clear()
    MOST.clear()
    yield admin_client
    for address, seconds in sorted(TIMES.items(), key=lambda pair: -pair[1])[:10]:
        sys.stdout.write(f"{request.param}: {seconds * 1000:5.0f} ms  {address}\n")
    for address, rows in sorted(MOST.items(), key=lambda pair: -pair[1])[:5]:
        sys.stdout.write(f"{request.param}: {rows:,} rows  {address}\n")


def test_pages_read_no_more_rows_than_they_say_and_say_so(visitor: Client) -> None:
    for name, values in FILTERS.items():
        for value in values:
            get(visitor, LISTED, "deadletter/", **{name: value})
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
