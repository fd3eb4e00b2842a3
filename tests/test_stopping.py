"""P12: after SIGTERM a consumer finishes what runs, commits, and leaves; nothing that finished runs twice."""

import json
import signal
import threading
from pathlib import Path

import pytest

from django_events import ConsumerGroup, Event
from django_events.consuming.limits import Limits
from django_events.consuming.service import Service
from django_events.kafka import topics
from tests.broker import Broker
from tests.fixtures import OF_THIS_PROCESS, PROTOCOLS, SESSION
from tests.ledger.entries import make_entry
from tests.ledger.events import EntryMade, entry_made
from tests.ledger.models import Entry
from tests.processes import Process, Site
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

SPARED = json.dumps(SESSION | OF_THIS_PROCESS)
"""Options of a consumer that nobody kills: no event comes again because it stood still."""


@pytest.fixture(autouse=True)
def created(broker: Broker) -> None:
    topics.create_missing(["ledger.entry-made"], timeout=60)


def noted() -> list[tuple[str, int]]:
    return sorted(Entry.objects.filter(handler="audit/note").values_list("account", "number"))


def consumer_in_a_handler(site: Site, hold: Path) -> Process:
    """A consumer whose handler has begun and waits for the file ``hold``."""
    make_entry("ann", hold=str(hold))
    site.catch_up()
    consumer = site.start("consume", "audit", KAFKA_CONSUMER=SPARED)
    wait_for(hold.with_suffix(".started").exists)
    return consumer


def test_a_client_that_holds_pythons_lock_for_ever_keeps_no_process_alive(site: Site) -> None:
    consumer = site.start_module("tests.holding_the_lock", "consume", "audit", "--shutdown-timeout=0.5")
    consumer.says("audit: got ledger.entry-made")
    consumer.signal(signal.SIGTERM)
    assert consumer.ends() == 1
    assert "Timeout (0:" in consumer.output
    assert "in hold_the_lock" in consumer.output, "it says where its threads were"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_handler_that_runs_may_finish_and_what_it_finished_is_not_repeated(
    site: Site, broker: Broker, tmp_path: Path, number: int
) -> None:
    hold = tmp_path / "hold"
    consumer = consumer_in_a_handler(site, hold)
    make_entry("ann")
    site.catch_up()
    consumer.signal(number)
    consumer.says("Stopping")
    hold.touch()
    consumer.succeeds()
    assert noted() == [("ann", 1)]  # it took no more work
    site.start("consume", "audit")
    wait_for(lambda: ("ann", 2) in noted())
    assert noted() == [("ann", 1), ("ann", 2)]


def test_the_stop_is_bounded_and_what_did_not_finish_comes_again(site: Site, broker: Broker, tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    make_entry("ann", hold=str(hold))
    site.catch_up()
    consumer = site.start("consume", "audit", "--shutdown-timeout=0.5")
    wait_for(hold.with_suffix(".started").exists)
    consumer.signal(signal.SIGTERM)
    assert consumer.ends() == 1
    assert "comes again" in consumer.output
    hold.touch()
    site.start("consume", "audit")
    wait_for(lambda: noted() == [("ann", 1)])


def test_where_nobody_reads_what_it_says_it_works_and_stops_in_good_order(
    site: Site, broker: Broker, tmp_path: Path
) -> None:
    hold = tmp_path / "hold"
    make_entry("ann", hold=str(hold))
    site.catch_up()
    consumer = site.start_module("tests.unheard", "consume", "audit", KAFKA_CONSUMER=SPARED)
    wait_for(hold.with_suffix(".started").exists)
    consumer.signal(signal.SIGTERM)
    hold.touch()
    consumer.succeeds()
    assert noted() == [("ann", 1)]
    assert 1 in [broker.committed("audit", "ledger.entry-made", number) for number in (0, 1)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_process_at_once(site: Site, broker: Broker, tmp_path: Path, number: int) -> None:
    consumer = consumer_in_a_handler(site, tmp_path / "hold")
    consumer.signal(number)
    consumer.says("Stopping")
    consumer.signal(number)
    assert consumer.ends() == 128 + number


def test_a_group_that_stopped_has_left_so_its_partitions_are_free_at_once(
    protocol: str, site: Site, broker: Broker
) -> None:
    """With a session of 5 minutes only a consumer that has left can have made way."""
    broker.set_session("audit", 300)
    options = PROTOCOLS[protocol] | ({"session.timeout.ms": 300_000} if protocol != "consumer" else {})
    first = site.start("consume", "audit", KAFKA_CONSUMER=json.dumps(options))
    first.says("got ledger.entry-made[0]")
    first.signal(signal.SIGTERM)
    first.succeeds()
    second = site.start("consume", "audit")
    second.says("got ledger.entry-made[0]")


def test_what_was_handed_out_but_not_begun_is_not_begun(
    broker: Broker, declarations: None, transactional_db: None
) -> None:
    group = ConsumerGroup("stopping")
    handled: list[str | None] = []
    may_end = threading.Event()

    @group.idempotent(entry_made)
    def wait(event: Event[EntryMade]) -> None:
        handled.append(event.key)
        may_end.wait()

    for number in range(10):
        broker.put("ledger.entry-made", b'{"account":"a","number":1}', key=b"key-%d" % number, partition=0)
    service = Service([group], limits=Limits(workers=1))
    service.begin()
    wait_for(lambda: handled)
    stopping = threading.Thread(target=service.stop, args=(120,))
    stopping.start()
    wait_for(lambda: any(progress.draining for progress in service._groups[0]._progress.values()))
    may_end.set()
    stopping.join()
    assert len(handled) == 1
    assert broker.committed("stopping", "ledger.entry-made", 0) == 1
