"""The statements of a round use the index whatever the statistics say: a queue's statistics are always wrong."""

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from django.db import connection, transaction

from django_events.models import COUNTED, Cut, Lane, LaneName, OutgoingEvent, outbox
from django_events.producing.sender import LANES_OFFERED

pytestmark = [pytest.mark.postgres, pytest.mark.django_db]

OUTBOX = OutgoingEvent._meta.db_table
LANES = [LaneName("shop.order-placed", number) for number in range(16)]
ROWS = 100_000


@pytest.fixture(params=["never analyzed", "analyzed when empty", "analyzed when full"])
def full_outbox(request: pytest.FixtureRequest, db: None) -> None:
    """Many rows in the lanes of one topic, and a few of another."""
    with connection.cursor() as cursor:
        if request.param == "analyzed when empty":
            cursor.execute(f"ANALYZE {OUTBOX}")
        cursor.execute(
            f"INSERT INTO {OUTBOX} (topic, lane, event_id, key, value, headers) SELECT "
            "CASE WHEN n %% 1000 = 0 THEN 'mail' ELSE 'shop.order-placed' END, n %% 16, n::text, '', '', '\\x90' "
            "FROM generate_series(1, %s) n",
            [ROWS],
        )
        if request.param == "analyzed when full":
            cursor.execute(f"ANALYZE {OUTBOX}")
    Lane.objects.add_missing([*LANES, LaneName("mail", 0)], "default")


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def rows_read(sql: str, params: Sequence[Any]) -> int:
    """Rows of the outbox that the statement reads in a prepared round; it must read them from the index."""
    with transaction.atomic(), connection.cursor() as cursor:
        OutgoingEvent.objects.prepare_round("default", 5)
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
        (found,) = cursor.fetchone()
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    scans = [node for node in nodes(plan) if node.get("Relation Name") == OUTBOX and "Scan" in node["Node Type"]]
    assert scans, plan
    assert {scan["Node Type"] for scan in scans} <= {"Index Scan", "Index Only Scan"}, scans
    return sum(round(scan["Actual Rows"] * scan["Actual Loops"]) for scan in scans)


def test_reading_lanes_reads_no_row_beyond_the_cut(full_outbox: None) -> None:
    columns = outbox._as_columns(LANES)
    assert rows_read(outbox._SQL_READ, [*columns, *Cut(rows=64, size=10_000_000)]) == 16 * 64


def test_reading_one_lane_reads_no_row_beyond_the_cut(full_outbox: None) -> None:
    columns = outbox._as_columns(LANES[:1])
    assert rows_read(outbox._SQL_READ, [*columns, *Cut(rows=500, size=10_000_000)]) == 500


def test_looking_for_lanes_with_rows_reads_one_row_a_lane(full_outbox: None) -> None:
    assert rows_read(outbox._SQL_LANES_WITH_ROWS, []) <= len(LANES) + 1


def test_looking_for_topics_reads_one_row_a_topic(full_outbox: None) -> None:
    assert rows_read(outbox._SQL_TOPICS, []) <= 2


def test_a_look_at_backlogs_reads_no_more_than_it_counts_and_the_first_row_of_each_lane(full_outbox: None) -> None:
    counted = 201
    first_rows, steps = 2 * len(LANES), 4
    assert rows_read(outbox._SQL_BACKLOGS, [counted, counted, None]) <= counted + 100 + first_rows + steps
    found = OutgoingEvent.objects.backlogs("default")
    assert [(each.topic, each.waiting, each.set_aside) for each in found] == [
        ("mail", 100, 0), ("shop.order-placed", COUNTED, 0)]  # fmt: skip
    assert [each.topic for each in OutgoingEvent.objects.backlogs("default", 1)] == ["mail"]


def test_deleting_reads_the_deleted_rows_only(full_outbox: None) -> None:
    ids = list(OutgoingEvent.objects.order_by("id").values_list("id", flat=True)[:500])
    assert rows_read(outbox._SQL_DELETE, [ids]) == 500


@pytest.mark.parametrize("topics", [3, 20, 300])
@pytest.mark.parametrize("is_analyzed", [False, True])
def test_lanes_are_locked_in_the_order_in_which_they_wait(db: None, topics: int, is_analyzed: bool) -> None:
    """Else those of some topics could have their turn again and again, and those of others never."""
    lanes = [LaneName(f"topic-{topic}", number) for topic in range(topics) for number in range(16)]
    Lane.objects.add_missing(lanes, "default")
    if is_analyzed:
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {Lane._meta.db_table}")
    offered = random.Random(topics).sample(lanes, min(len(lanes), LANES_OFFERED))
    with transaction.atomic():
        OutgoingEvent.objects.prepare_round("default", 5)
        assert Lane.objects.lock(offered, 20, "default", wait=5) == offered[:20]


@pytest.mark.django_db(transaction=True)
def test_each_statement_of_a_round_sees_what_is_committed_whatever_the_connection_is_set_to() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        try:
            with transaction.atomic():
                OutgoingEvent.objects.prepare_round("default", 5)
                cursor.execute("SHOW transaction_isolation")
                assert cursor.fetchone() == ("read committed",)
        finally:
            cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED")


def test_a_round_asks_for_an_end(full_outbox: None) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        OutgoingEvent.objects.prepare_round("default", 5)
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        assert cursor.fetchone() == ("10s",)


def test_a_round_reads_the_oldest_rows_of_each_lane_in_their_order(full_outbox: None) -> None:
    found = OutgoingEvent.objects.read(LANES[:2], Cut(rows=3, size=10_000_000), "default")
    assert [(row.number, int(row.event_id)) for row in found] == [
        (1, 1),
        (0, 16),
        (1, 17),
        (0, 32),
        (1, 33),
        (0, 48),
    ]


def test_a_round_is_bounded_by_bytes_but_reads_the_first_row_of_each_lane(full_outbox: None) -> None:
    found = OutgoingEvent.objects.read(LANES[:2], Cut(rows=100, size=1), "default")
    assert len(found) == 2
