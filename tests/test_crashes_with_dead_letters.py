"""SIGKILL between a letter and its offset, between its row and the reader's offset, and inside a retry: no letter is
lost, none is doubled, no effect happens twice."""

from datetime import timedelta

import pytest
from django.db.models import F

from django_events.consuming import repair
from django_events.kafka import topics
from django_events.models import DeadLetter, Failure, State
from tests.broker import Broker
from tests.ledger.entries import make_entry
from tests.ledger.models import Account, Entry
from tests.letters import the_letter
from tests.processes import Site
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

TOPIC, LETTERS = "ledger.entry-made", "ledger.entry-made.clinic.dead-letter"


@pytest.fixture(autouse=True)
def one_ill_entry(site: Site, broker: Broker) -> None:
    topics.create_missing([TOPIC], timeout=60)
    Account.objects.create(name="ill-ann")
    make_entry("ann")
    make_entry("bob")
    site.catch_up()


def heal() -> None:
    Account.objects.filter(name="ill-ann").delete()


def passed(broker: Broker, group: str, topic: str) -> bool:
    return broker.exists(topic) and all(
        (broker.committed(group, topic, partition) or 0) == broker.end(topic, partition) for partition in (0, 1)
    )


def wait_until_settled(broker: Broker) -> None:
    """Until everything is handled or a letter, every letter is a row, and all offsets have passed."""
    wait_for(lambda: passed(broker, "clinic", TOPIC))
    wait_for(lambda: passed(broker, "clinic-dead-letter", LETTERS))


def effects() -> list[tuple[str, str]]:
    return sorted(Entry.objects.filter(handler__startswith="clinic").values_list("handler", "account"))


ALL_EFFECTS = [("clinic/cure", "ann"), ("clinic/cure", "bob"), ("clinic/watch", "ann"), ("clinic/watch", "bob")]


@pytest.mark.parametrize("point", ["dead-letter-written", "dead-letters-projected"])
def test_a_consumer_killed_on_the_way_of_a_letter(site: Site, broker: Broker, point: str) -> None:
    killed = site.start("consume", "clinic", DJANGO_EVENTS_CRASH_AT=point)
    assert killed.was_killed_by_itself(), killed.output
    site.start("consume", "clinic")
    letter = the_letter()
    wait_until_settled(broker)
    assert DeadLetter.objects.count() == 1
    heal()
    wait_for(lambda: DeadLetter.objects.get().state == State.RESOLVED)
    wait_until_settled(broker)
    assert effects() == ALL_EFFECTS
    assert letter.pk == DeadLetter.objects.get().pk
    assert Failure.objects.get().letters_open == 0


@pytest.mark.parametrize("point", ["dead-letter-leased", "handler-returned", "handler-committed", "dead-letter-tried"])
def test_a_consumer_killed_inside_a_retry(site: Site, broker: Broker, point: str) -> None:
    consumer = site.start("consume", "clinic")
    wait_until_settled(broker)
    wait_for(lambda: len(effects()) == 3)
    consumer.signal(15)
    consumer.succeeds()
    heal()
    killed = site.start("consume", "clinic", DJANGO_EVENTS_CRASH_AT=point)
    repair.retry([the_letter().pk])
    assert killed.was_killed_by_itself(), killed.output
    assert DeadLetter.objects.get().state == State.RUNNING
    site.start("consume", "clinic")
    DeadLetter.objects.update(due_at=F("due_at") - timedelta(minutes=1))  # the lease of the killed process ends
    wait_for(lambda: DeadLetter.objects.get().state == State.RESOLVED)
    assert effects() == ALL_EFFECTS
