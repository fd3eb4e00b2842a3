"""P7 and P8: effects happen once, and an offset never passes an event that is not done."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime

import pytest
from django.db import transaction

from django_events import ConsumerGroup, Event
from django_events.consuming.service import Service
from django_events.kafka import topics
from django_events.models import ProcessedEvent
from tests.broker import Broker
from tests.ledger.entries import make_entry
from tests.ledger.events import EntryMade, entry_closed, entry_made
from tests.ledger.handlers import ledger
from tests.ledger.models import Entry
from tests.processes import Site
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

Consuming = Callable[..., AbstractContextManager[Service]]

BODY = b'{"account":"ann","number":1}'


def cloud_event(id: str, source: str = "elsewhere") -> list[tuple[str, bytes | None]]:
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", b"made"),
        ("content-type", b"application/json"),
    ]


def booked() -> list[tuple[str, int]]:
    """Account and number of every effect of the exactly-once handler."""
    return sorted(Entry.objects.filter(handler="ledger/book").values_list("account", "number"))


def passed(broker: Broker, group: str, topic: str) -> bool:
    """Whether the group's offsets are at the end of the topic."""
    return all((broker.committed(group, topic, partition) or 0) == broker.end(topic, partition) for partition in (0, 1))


@pytest.fixture(autouse=True)
def created(broker: Broker) -> None:
    topics.create_missing(["ledger.entry-made", "ledger.entry-closed"], timeout=60)


@pytest.mark.parametrize(
    "point",
    ["record-polled", "processed-row-inserted", "handler-returned", "handler-committed", "before-offset-commit"],
)
def test_a_consumer_that_is_killed_anywhere_handles_each_event_once(site: Site, broker: Broker, point: str) -> None:
    for number in range(10):
        make_entry(f"account-{number % 3}")
    site.catch_up()
    killed = site.start("consume", "ledger", DJANGO_EVENTS_CRASH_AT=f"{point}:{1 if 'offset' in point else 3}")
    assert killed.was_killed_by_itself(), killed.output
    site.start("consume", "ledger")
    wait_for(lambda: passed(broker, "ledger", "ledger.entry-made"))
    assert booked() == sorted([("account-0", 1), ("account-0", 2), ("account-0", 3), ("account-0", 4)]
                              + [(f"account-{n}", i) for n in (1, 2) for i in (1, 2, 3)])  # fmt: skip


def test_an_event_that_is_delivered_again_has_no_second_effect(broker: Broker, consuming: Consuming) -> None:
    for partition in (0, 0, 1):
        broker.put("ledger.entry-made", BODY, headers=cloud_event("1"), partition=partition)
    with consuming(ledger):
        wait_for(lambda: passed(broker, "ledger", "ledger.entry-made"))
    assert booked() == [("ann", 1)]


def test_equal_ids_of_other_sources_and_topics_are_other_events(broker: Broker, consuming: Consuming) -> None:
    broker.put("ledger.entry-made", BODY, headers=cloud_event("1", "a"))
    broker.put("ledger.entry-made", BODY, headers=cloud_event("1", "b"))
    broker.put("ledger.entry-closed", BODY, headers=cloud_event("1", "a"))
    with consuming(ledger):
        wait_for(lambda: passed(broker, "ledger", "ledger.entry-made"))
        wait_for(lambda: passed(broker, "ledger", "ledger.entry-closed"))
    assert booked() == [("ann", 1)] * 3


def test_events_without_id_are_told_apart_by_their_place(broker: Broker, consuming: Consuming) -> None:
    broker.put("ledger.entry-made", BODY, partition=0)
    broker.put("ledger.entry-made", BODY, partition=0)
    with consuming(ledger):
        wait_for(lambda: len(booked()) == 2)
    Entry.objects.all().delete()
    site_of_first = ProcessedEvent.objects.values_list("event_id", flat=True)
    assert sorted(site_of_first) == ["0@0", "0@1"]


def test_an_event_tells_where_it_lies_and_since_when(broker: Broker, consuming: Consuming, declarations: None) -> None:
    group = ConsumerGroup("curious")
    told: list[tuple[object, ...]] = []

    @group.idempotent(entry_made)
    def ask(event: Event[EntryMade]) -> None:
        told.append((event.partition, event.offset, event.timestamp, event.group, event.handler, event.attempt))

    broker.put("ledger.entry-made", BODY, partition=1)
    with consuming(group):
        wait_for(lambda: told)
    (record,) = broker.read("ledger.entry-made")
    assert told == [(1, 0, datetime.fromtimestamp(record.at, UTC), "curious", "ask", 1)]


def test_each_handler_of_a_group_has_its_own_effect(
    broker: Broker, consuming: Consuming, declarations: None, transactional_db: None
) -> None:
    group = ConsumerGroup("pair")
    for name in ("one", "two"):

        @group.exactly_once(entry_made, name=name)
        def handle(event: Event[EntryMade]) -> None:
            Entry.objects.create(handler=event.handler or "", account="ann", number=1, process=0)

    broker.put("ledger.entry-made", BODY, headers=cloud_event("1"))
    broker.put("ledger.entry-made", BODY, headers=cloud_event("1"))
    with consuming(group):
        wait_for(lambda: passed(broker, "pair", "ledger.entry-made"))
    assert sorted(Entry.objects.values_list("handler", flat=True)) == ["one", "two"]


def test_the_mark_of_a_handler_that_fails_is_rolled_back_with_its_effects(
    broker: Broker, consuming: Consuming, declarations: None
) -> None:
    group = ConsumerGroup("stumbling")
    attempts = []

    @group.exactly_once(entry_made)
    def stumble(event: Event[EntryMade]) -> None:
        Entry.objects.create(handler="stumble", account="ann", number=event.attempt or 0, process=0)
        attempts.append(event.attempt)
        if len(attempts) == 1:
            raise ValueError("the first try fails")

    broker.put("ledger.entry-made", BODY, headers=cloud_event("1"), partition=0)
    with consuming(group):
        wait_for(lambda: broker.committed("stumbling", "ledger.entry-made", 0) == 1)
    assert attempts == [1, 2]
    assert list(Entry.objects.values_list("number", flat=True)) == [2]


def test_events_that_a_handler_sends_commit_with_its_mark(
    site: Site, broker: Broker, consuming: Consuming, declarations: None
) -> None:
    """An event that an exactly-once handler sends is part of its transaction: one for each event, or none."""
    group = ConsumerGroup("forwarding")
    failures = iter([True])

    @group.exactly_once(entry_made)
    def forward(event: Event[EntryMade]) -> None:
        entry_closed.send(event.payload, key=event.key)
        if next(failures, False):
            raise ValueError("after sending")

    with transaction.atomic():
        entry_made.send(EntryMade("ann", 1), key="ann")
    site.catch_up()
    with consuming(group):
        wait_for(lambda: passed(broker, "forwarding", "ledger.entry-made"))
    site.catch_up()
    (sent,) = {(record.id, record.key) for record in broker.read("ledger.entry-closed")}
    assert sent[1] == b"ann"


def test_progress_is_kept_for_each_topic_and_partition(
    broker: Broker, consuming: Consuming, declarations: None
) -> None:
    """Events of one topic that wait hold no offset of another topic, and none of another partition."""
    group = ConsumerGroup("waiting")
    refused = []

    @group.idempotent(entry_made, entry_closed)
    def refuse_one(event: Event[EntryMade]) -> None:
        if (event.topic, event.partition) == ("ledger.entry-made", 0):
            refused.append(event)
            raise ValueError("not this one")

    for topic in ("ledger.entry-made", "ledger.entry-closed"):
        for partition in (0, 1):
            broker.put(topic, BODY, partition=partition)
            broker.put(topic, BODY, partition=partition)
    with consuming(group):
        wait_for(lambda: passed(broker, "waiting", "ledger.entry-closed"))
        wait_for(lambda: broker.committed("waiting", "ledger.entry-made", 1) == 2)
        wait_for(lambda: len(refused) >= 2)
    assert broker.committed("waiting", "ledger.entry-made", 0) is None


def test_an_offset_does_not_pass_an_event_that_one_of_two_handlers_is_not_done_with(
    broker: Broker, consuming: Consuming, declarations: None
) -> None:
    group = ConsumerGroup("halves")
    done, refused = [], []

    @group.idempotent(entry_made)
    def accept(event: Event[EntryMade]) -> None:
        done.append(event.offset)

    @group.idempotent(entry_made)
    def refuse_the_second(event: Event[EntryMade]) -> None:
        if event.offset == 1:
            refused.append(event)
            raise ValueError("not the second")

    for _ in range(3):
        broker.put("ledger.entry-made", BODY, partition=0)
    with consuming(group):
        wait_for(lambda: len(done) == 3 and len(refused) >= 2)
    assert broker.committed("halves", "ledger.entry-made", 0) == 1
