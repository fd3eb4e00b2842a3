"""What ``catchup`` costs the database while nothing can be sent: the same, however many rows wait and whatever the
statistics say.

DJANGO_EVENTS_BIG=1000000 fills the outbox with as many rows.
"""

import io
import os
from collections.abc import Iterator

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection, transaction

from benchmarks.place import OURS
from django_events.models import Lane, LaneName, OutgoingEvent
from django_events.producing import sender
from django_events.producing.catchup import Catchup
from django_events.stopping import Stop
from tests.broker import Broker
from tests.counting import Counting
from tests.ledger.events import EntryMade, entry_made

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

ROWS = int(os.environ.get("DJANGO_EVENTS_BIG", "100000"))
OUTBOX = OutgoingEvent._meta.db_table
LANES = Lane._meta.db_table
TOPIC = "ledger.entry-made"
UNKNOWN = "nobodys"
"""A topic that Kafka does not have, and that nobody has declared: it is held back."""
PASSES = 3
LOOK = 4
"""BEGIN, the statement that prepares, the one that looks, COMMIT."""
ROUND = 4
"""BEGIN, the statement that prepares, the one that locks, COMMIT."""
CONNECTION = 1
"""What a new connection asks."""


@pytest.fixture(params=["never analyzed", "analyzed when empty", "analyzed when full"])
def statistics(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def fill(topic: str, statistics: str) -> None:
    with connection.cursor() as cursor:
        if statistics == "analyzed when empty":
            cursor.execute(f"ANALYZE {OUTBOX}")
        cursor.execute(
            f"INSERT INTO {OUTBOX} (topic, lane, event_id, key, value, headers) "
            "SELECT %s, n %% 16, n::text, '', '', '\\x90' FROM generate_series(1, %s) n",
            [topic, ROWS],
        )
        if statistics == "analyzed when full":
            cursor.execute(f"ANALYZE {OUTBOX}")


def rows_read() -> int:
    """Rows of the outbox, and entries of its indexes, that were ever read, as far as PostgreSQL has been told."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = %s) "
            "+ (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = %s)",
            [OUTBOX, OUTBOX],
        )
        return int(cursor.fetchone()[0])


@pytest.fixture
def taken(transactional_db: None) -> Iterator[None]:
    """Another sender has all lanes of the topic."""
    Lane.objects.add_missing([LaneName(TOPIC, number) for number in range(16)], "default")
    address = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
    # counted as one of the benchmark's own connections, so that nobody waits for its end
    with psycopg.connect(address, application_name=OURS) as other:
        assert len(other.execute(f"SELECT FROM {LANES} FOR UPDATE").fetchall()) == 16
        yield


@pytest.mark.usefixtures("patient_sender")
def test_once_leaves_to_others_what_they_have_in_hand(broker: Broker, taken: None) -> None:
    broker.create(TOPIC)
    with transaction.atomic():
        entry_made.send(EntryMade("ann", 1), key="ann")
    output = io.StringIO()
    call_command("catchup", "--once", stdout=output)
    assert output.getvalue() == "Sent 0 events; other senders have lanes with events in hand: 1\n"
    assert OutgoingEvent.objects.count() == 1


def cost_of_passes(catchup: Catchup, counting: Counting) -> tuple[int, int]:
    """Statements, and rows of the outbox that they read, of some passes that send nothing; the first is not counted."""
    assert catchup.one_pass("default", Stop()).sent == 0
    with counting():  # closes our connections, and waits until PostgreSQL has been told of all that they have read
        pass
    before = rows_read()
    with counting() as found:
        for _ in range(PASSES):
            done = catchup.one_pass("default", Stop())
            assert done.left + done.busy == 16
    return found.counts.statements, rows_read() - before


def test_rows_that_are_held_back_cost_one_look_a_pass(broker: Broker, statistics: str, counting: Counting) -> None:
    fill(UNKNOWN, statistics)
    catchup = Catchup(["default"])
    statements, rows = cost_of_passes(catchup, counting)
    catchup.close()
    assert statements <= PASSES * LOOK + CONNECTION
    assert rows <= PASSES * 20


def test_rows_that_another_sender_has_cost_one_look_and_one_try_a_pass(
    broker: Broker, taken: None, statistics: str, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "BUSY_CHECKED_EVERY", 3600.0)  # once a second lanes that are taken are added again
    broker.create(TOPIC)
    fill(TOPIC, statistics)
    catchup = Catchup(["default"])
    statements, rows = cost_of_passes(catchup, counting)
    catchup.close()
    assert statements <= PASSES * (LOOK + ROUND) + CONNECTION
    assert rows <= PASSES * 20
