"""Processes of one group come and go while events flow: none is lost, and none takes effect twice."""

import signal

import pytest

from django_events.kafka import topics
from tests.broker import Broker
from tests.ledger.models import Account, Entry
from tests.processes import Site
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


def booked() -> list[tuple[str, int]]:
    return sorted(Entry.objects.filter(handler="ledger/book").values_list("account", "number"))


def made() -> list[tuple[str, int]]:
    return sorted((account.name, n) for account in Account.objects.all() for n in range(1, account.last + 1))


def test_effects_happen_once_while_consumers_join_leave_and_die(site: Site, broker: Broker) -> None:
    topics.create_missing(["ledger.entry-made", "ledger.entry-closed"], timeout=10)
    first = site.start("consume", "ledger")
    first.says("got ledger")
    sender = site.start("make_entries", "--entries=800", "--accounts=20")
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
    topics.create_missing(["ledger.entry-made"], timeout=10)
    first, second = site.start("consume", "audit"), site.start("consume", "audit")
    first.says("got ledger.entry-made")
    second.says("got ledger.entry-made")
    site.run("make_entries", "--entries=100", "--accounts=20")
    wait_for(lambda: Entry.objects.count() == 100)
    assert set(Entry.objects.values_list("process", flat=True)) == {first.pid, second.pid}
