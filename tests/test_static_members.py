"""``group.instance.id``: a process that is replaced gets its partitions back, and the others notice nothing."""

import json
import re
import signal

import pytest

from django_events.kafka import topics
from django_events.models import DeadLetter
from tests.broker import Broker
from tests.fixtures import PROTOCOLS
from tests.ledger.entries import make_entry
from tests.ledger.models import Account, Entry
from tests.letters import the_letter
from tests.processes import Process, Site
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

SESSION = 300
"""Seconds: no partition of a process that is away becomes free while a test runs."""


@pytest.fixture(autouse=True)
def created(broker: Broker) -> None:
    topics.create_missing(["ledger.entry-made"], timeout=60)
    for group in ("audit", "clinic", "clinic-dead-letter"):
        broker.set_session(group, SESSION)


def start(site: Site, group: str, protocol: str, instance: str) -> Process:
    """A process that is this instance of the group."""
    options = PROTOCOLS[protocol] | {"group.instance.id": instance}
    if "session.timeout.ms" in options:
        options = options | {"session.timeout.ms": SESSION * 1000}
    return site.start("consume", group, KAFKA_CONSUMER=json.dumps(options))


def make_entries(site: Site) -> None:
    """Send 40 events, and wait until the group has handled them."""
    site.run("make_entries", "--entries=40", "--accounts=20", EXIT_TIMEOUT="120")
    wait_for(lambda: Entry.objects.values("account", "number").distinct().count() == 40)


def partitions(process: Process) -> set[str]:
    """What the process has of the topic, as its output tells."""
    has: set[str] = set()
    for word, found in re.findall(r"^\w+: (got|gave up|lost) (.*)$", process.output, re.MULTILINE):
        named = {each for each in found.split(", ") if each.startswith("ledger.entry-made[")}
        has = has | named if word == "got" else has - named
    return has


def told(process: Process) -> list[str]:
    """What the process has said of its group. Not that it got nothing more, which it hears a moment after it has given
    up something."""
    lines = process.output.splitlines()
    return [line for line in lines if line.startswith("audit: ") and not line.endswith(": got nothing")]


def test_a_replaced_process_gets_its_partitions_back_and_the_others_notice_nothing(
    protocol: str, site: Site, broker: Broker
) -> None:
    first, second = start(site, "audit", protocol, "one"), start(site, "audit", protocol, "two")
    wait_for(lambda: len(partitions(first)) == len(partitions(second)) == 1)
    noticed, had = told(first), partitions(second)
    second.signal(signal.SIGTERM)
    second.succeeds()
    replacement = start(site, "audit", protocol, "two")
    wait_for(lambda: partitions(replacement) == had)
    make_entries(site)
    assert set(Entry.objects.values_list("process", flat=True)) == {first.pid, replacement.pid}
    assert told(first) == noticed


def test_the_reader_of_dead_letters_is_such_a_member_of_its_own_group(
    protocol: str, site: Site, broker: Broker
) -> None:
    Account.objects.create(name="ill-ann")
    first = start(site, "clinic", protocol, "one")
    make_entry("ann")
    site.catch_up()
    the_letter()
    first.signal(signal.SIGTERM)
    first.succeeds()
    start(site, "clinic", protocol, "one")
    Account.objects.create(name="ill-bob")
    make_entry("bob")
    site.catch_up()
    wait_for(lambda: DeadLetter.objects.count() == 2)


def test_of_two_processes_with_one_id_one_ends_and_says_what_to_do(protocol: str, site: Site, broker: Broker) -> None:
    first = start(site, "audit", protocol, "one")
    wait_for(lambda: len(partitions(first)) == 2)
    second = start(site, "audit", protocol, "one")
    wait_for(lambda: not (first.running() and second.running()))
    (ended, going_on) = (second, first) if first.running() else (first, second)
    assert ended.ends() == 1
    assert "another process is this member of the group. Give each a 'group.instance.id' of its own" in ended.output
    make_entries(site)
    assert set(Entry.objects.values_list("process", flat=True)) == {going_on.pid}
