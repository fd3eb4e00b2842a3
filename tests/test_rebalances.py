"""Processes of one group come and go while events flow: none is lost, and none takes effect twice."""

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from django_events import ConsumerGroup, Event
from django_events.consuming.limits import Limits
from django_events.consuming.service import Service
from django_events.kafka import topics
from tests.broker import Broker
from tests.ledger.entries import make_entry
from tests.ledger.events import EntryMade, entry_made
from tests.ledger.models import Account, Entry
from tests.letters import the_letter
from tests.processes import Site
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.usefixtures("protocol")]

BODY = b'{"account":"ann","number":1}'


def booked() -> list[tuple[str, int]]:
    return sorted(Entry.objects.filter(handler="ledger/book").values_list("account", "number"))


def made() -> list[tuple[str, int]]:
    return sorted((account.name, n) for account in Account.objects.all() for n in range(1, account.last + 1))


def test_effects_happen_once_while_consumers_join_leave_and_die(site: Site, broker: Broker) -> None:
    topics.create_missing(["ledger.entry-made", "ledger.entry-closed"], timeout=60)
    first = site.start("consume", "ledger")
    first.says("got ledger")
    sender = site.start("make_entries", "--entries=800", "--accounts=20", EXIT_TIMEOUT="120")
    wait_for(booked)
    second = site.start("consume", "ledger")
    second.says("got ledger")
    first.signal(signal.SIGTERM)
    third = site.start("consume", "ledger")
    third.says("got ledger")
    wait_for(lambda: Entry.objects.filter(process=third.pid).exists() or not sender.running())
    second.kill()
    sender.succeeds()
    site.start("consume", "ledger")
    wait_for(lambda: len(booked()) >= 800)
    assert booked() == made()
    first.succeeds()
    assert third.running(), third.output


def test_both_consumers_of_a_group_get_a_part(site: Site, broker: Broker) -> None:
    topics.create_missing(["ledger.entry-made"], timeout=60)
    first, second = site.start("consume", "audit"), site.start("consume", "audit")
    wait_for(lambda: has_one_partition(first.output) and has_one_partition(second.output))

    def both_have_handled_some() -> bool:
        """One that the machine has let stand still is without its part for a while."""
        site.run("make_entries", "--entries=100", "--accounts=20", EXIT_TIMEOUT="120")
        wait_for(lambda: Entry.objects.values("account", "number").distinct().count() == len(made()))
        return {*Entry.objects.values_list("process", flat=True)} == {first.pid, second.pid}

    wait_for(both_have_handled_some)


def has_one_partition(output: str) -> bool:
    """Whether a consumer with this output has one of the topic's two partitions."""
    changes = Counter[str]()
    for line in output.splitlines():
        for word, change in (("got", 1), ("gave up", -1), ("lost", -1)):
            if f"audit: {word} " in line:
                changes[word] += change * line.count("ledger.entry-made[")
    return changes.total() == 1


def test_dead_letters_are_brought_in_and_cured(site: Site, broker: Broker) -> None:
    """The reader of dead letters is a group of its own, with the same options."""
    topics.create_missing(["ledger.entry-made"], timeout=60)
    Account.objects.create(name="ill-ann")
    site.start("consume", "clinic")
    make_entry("ann")
    site.catch_up()
    the_letter()
    Account.objects.filter(name="ill-ann").delete()
    wait_for(lambda: Entry.objects.filter(handler="clinic/cure", account="ann").exists())


class Patients:
    """A group whose handler notes the offsets that it begins with, by partition, and waits until it may end."""

    def __init__(self) -> None:
        self.group = ConsumerGroup("patient")
        self.begun: list[tuple[int | None, int | None]] = []
        self.may_end = threading.Event()

        @self.group.idempotent(entry_made)
        def wait(event: Event[EntryMade]) -> None:
            self.begun.append((event.partition, event.offset))
            self.may_end.wait()

    @contextmanager
    def waiting_with(self, limits: Limits) -> Iterator[Service]:
        """A process in whose handlers the first event of each partition is."""
        with self.one_more(limits) as service:
            wait_for(lambda: len(self.begun) == 2)
            yield service

    @contextmanager
    def one_more(self, limits: Limits | None = None) -> Iterator[Service]:
        service = Service([self.group], limits=limits)
        service.begin()
        try:
            yield service
        finally:
            self.may_end.set()
            assert service.stop(120), "a group did not end"


@pytest.fixture
def patients(broker: Broker, declarations: None, transactional_db: None) -> Patients:
    """With three events of one key in each of the two partitions."""
    topics.create_missing(["ledger.entry-made"], timeout=60)
    broker.set_session("patient", 60)  # it counts with the protocol ``consumer``; nobody is killed here
    for partition in (0, 1):
        broker.put_many("ledger.entry-made", [BODY] * 3, b"key-%d" % partition, partition)
    return Patients()


def gives_up(service: Service) -> bool:
    return any(progress.draining for progress in service._groups[0]._progress.values())


def all_is_done(broker: Broker) -> bool:
    return all(broker.committed("patient", "ledger.entry-made", number) == 3 for number in (0, 1))


def test_who_gives_up_a_partition_finishes_what_runs_and_commits_it(broker: Broker, patients: Patients) -> None:
    with patients.waiting_with(Limits()) as first, patients.one_more():
        wait_for(lambda: gives_up(first))
        patients.may_end.set()
        wait_for(lambda: all_is_done(broker))
    assert sorted(patients.begun) == [(partition, offset) for partition in (0, 1) for offset in range(3)]


def test_who_gives_up_a_partition_waits_for_a_bounded_time_and_what_is_late_does_not_count(
    broker: Broker, patients: Patients
) -> None:
    with patients.waiting_with(Limits(drain=0.5)) as first, patients.one_more():
        wait_for(lambda: len(patients.begun) == 3)  # the other has begun with what the first does not end
        (given_up,) = {partition for partition, _ in patients.begun if patients.begun.count((partition, 0)) == 2}
        assert broker.committed("patient", "ledger.entry-made", given_up or 0) is None
        assert len(first._groups[0]._progress) == 1
        patients.may_end.set()
        wait_for(lambda: all_is_done(broker))
    begun = Counter(patients.begun)
    assert begun.pop((given_up, 0)) == 2
    assert set(begun.values()) == {1}


def test_who_was_frozen_for_so_long_that_others_took_over_begins_and_commits_nothing_more(
    site: Site, broker: Broker, tmp_path: Path
) -> None:
    topics.create_missing(["ledger.entry-made"], timeout=60)
    hold = tmp_path / "hold"
    for number in range(40):
        make_entry("ann", hold=str(hold) if not number else "")
    site.catch_up()
    frozen = site.start("consume", "audit")
    wait_for(hold.with_suffix(".started").exists)
    frozen.signal(signal.SIGSTOP)
    hold.touch()
    site.start("consume", "audit")
    wait_for(lambda: Entry.objects.values("number").distinct().count() == 40)
    (partition,) = {record.partition for record in broker.read("ledger.entry-made")}
    end = broker.end("ledger.entry-made", partition)  # 40, unless a slow Kafka has some twice
    wait_for(lambda: broker.committed("audit", "ledger.entry-made", partition) == end)
    frozen.signal(signal.SIGCONT)
    frozen.says("audit: lost ledger.entry-made")
    frozen.signal(signal.SIGTERM)
    frozen.succeeds()
    assert set(Entry.objects.filter(process=frozen.pid).values_list("number", flat=True)) <= {1}
    assert "could not commit" not in frozen.output
    assert broker.committed("audit", "ledger.entry-made", partition) == end
