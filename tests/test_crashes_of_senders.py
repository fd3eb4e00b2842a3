"""P2: a sender that is killed at any point loses nothing, and ``catchup`` sends the rest."""

import signal
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from django_events import crash_points
from django_events.kafka import topics
from django_events.models import Lane, LaneName, OutgoingEvent
from django_events.testing import sending
from tests.broker import Broker
from tests.ledger.entries import make_entry
from tests.ledger.models import Account
from tests.processes import Site
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

SENDING_POINTS = ("lanes-locked", "produced-not-acknowledged", "acknowledged-not-deleted", "deleted-not-committed")


def committed() -> set[tuple[bytes, int]]:
    """Key and number of every event whose transaction was committed, as the accounts know them."""
    return {
        (account.name.encode(), number) for account in Account.objects.all() for number in range(1, account.last + 1)
    }


def arrived(broker: Broker) -> set[tuple[bytes | None, int]]:
    return {(record.key, record.payload["number"]) for record in broker.read("ledger.entry-made")}


def catch_up(site: Site) -> None:
    """Run ``catchup --once``; again if the database had not yet noticed that who held a lane is dead."""

    def has_sent_all() -> bool:
        site.catch_up()
        return not OutgoingEvent.objects.exists()

    wait_for(has_sent_all)


@pytest.fixture(autouse=True)
def topic(broker: Broker) -> None:
    topics.create_missing(["ledger.entry-made"], timeout=60)


@pytest.mark.parametrize("point", ["row-inserted", "committed-before-wake", *SENDING_POINTS])
def test_a_site_that_is_killed_loses_no_event_and_sends_none_that_was_not_committed(
    site: Site, broker: Broker, point: str
) -> None:
    process = site.start("make_entries", "--entries=100000", DJANGO_EVENTS_CRASH_AT=f"{point}:3")
    assert process.was_killed_by_itself(), process.output
    assert committed()
    catch_up(site)
    assert arrived(broker) == committed()


@pytest.mark.parametrize("point", SENDING_POINTS)
def test_a_catchup_that_is_killed_leaves_the_rest_to_the_next(site: Site, broker: Broker, point: str) -> None:
    for number in range(20):
        make_entry(f"account-{number % 4}")
    assert site.start("catchup", DJANGO_EVENTS_CRASH_AT=point).was_killed_by_itself()  # it goes on until it gets there
    assert OutgoingEvent.objects.exists()
    catch_up(site)
    assert arrived(broker) == committed()


def test_a_sender_that_stops_in_the_middle_of_a_round_loses_its_lanes(site: Site, broker: Broker) -> None:
    """A stopped process keeps its connection, so only PostgreSQL can take the lanes away from it."""
    make_entry("ann")
    stopped = site.start("catchup", DJANGO_EVENTS_STOP_AT="lanes-locked")
    wait_for(lambda: state_of(stopped.pid) == "T")
    site.start("catchup")
    wait_for(lambda: not OutgoingEvent.objects.exists())
    stopped.signal(signal.SIGCONT)
    assert arrived(broker) == committed()


def test_the_wake_up_of_a_lane_found_taken_outlives_who_has_taken_it(
    transactional_db: None, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has it is no process of ours: PostgreSQL would take the lane away from that after some seconds."""
    make_entry("ann")
    Lane.objects.add_missing([LaneName("ledger.entry-made", number) for number in range(16)], "default")
    reached: list[str] = []
    monkeypatch.setattr(crash_points, "armed", "lane-found-taken")
    monkeypatch.setattr(crash_points, "reached", reached.append)
    address = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
    with sending(), psycopg.connect(address) as holder:
        holder.execute(f"SELECT FROM {Lane._meta.db_table} FOR UPDATE")
        make_entry("ann")
        wait_for(lambda: reached.count("lane-found-taken") >= 2)
        assert OutgoingEvent.objects.count() == 2
        holder.rollback()
        wait_for(lambda: not OutgoingEvent.objects.exists())
    assert arrived(broker) == committed() == {(b"ann", 1), (b"ann", 2)}


def state_of(pid: int) -> str:
    with Path(f"/proc/{pid}/stat").open() as file:
        return file.read().rpartition(")")[2].split()[0]
