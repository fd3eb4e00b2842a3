"""``consume --until-empty``: it ends when everything is handled that there was, and says what it waits for."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from django_events import ConsumerGroup, Event
from django_events.consuming import until_empty
from django_events.consuming.limits import Limits
from django_events.consuming.service import Service
from django_events.consuming.until_empty import UntilEmpty
from django_events.kafka import topics
from django_events.models import DeadLetter
from tests.broker import Broker
from tests.fixtures import OF_THIS_PROCESS, SESSION
from tests.ledger.entries import make_entry
from tests.ledger.events import EntryMade, entry_made
from tests.ledger.models import Account, Entry
from tests.processes import Site
from tests.services.credentials import Vault
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

SPARED = json.dumps(SESSION | OF_THIS_PROCESS)
"""Options of a consumer that nobody kills: no event comes again because it stood still."""


Consuming = Callable[..., AbstractContextManager[Service]]


@pytest.fixture
def created(broker: Broker) -> None:
    topics.create_missing(["ledger.entry-made", "ledger.entry-closed"], timeout=60)


def numbers(handler: str) -> list[int]:
    return sorted(Entry.objects.filter(handler=handler).values_list("number", flat=True))


@pytest.fixture
def group(broker: Broker, created: None, declarations: None, transactional_db: None) -> ConsumerGroup:
    return declare_group("waited-for")


def declare_group(name: str, **options: Any) -> ConsumerGroup:
    group = ConsumerGroup(name, **options)

    @group.idempotent(entry_made)
    def pass_over(event: Event[EntryMade]) -> None: ...

    return group


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def watchers() -> Iterator[list[UntilEmpty]]:
    started: list[UntilEmpty] = []
    yield started
    for each in started:
        each.stop()
        each.join(60)


def watch(watchers: list[UntilEmpty], group: ConsumerGroup, said: list[str]) -> UntilEmpty:
    watcher = UntilEmpty([group], lambda: True, said.append)
    watchers.append(watcher)
    watcher.start()
    return watcher


def put(broker: Broker, count: int, partition: int = 0) -> None:
    for _ in range(count):
        broker.put("ledger.entry-made", b'{"account":"a","number":1}', partition=partition)


def test_it_ends_when_everything_is_handled_and_letters_are_in_the_table(site: Site, created: None) -> None:
    Account.objects.create(name="ill-ann")
    for _ in range(10):
        make_entry("ann")
        make_entry("bob")
    site.catch_up()
    output = site.run("consume", "clinic", "audit", "--until-empty", KAFKA_CONSUMER=SPARED)
    assert "Everything is handled that there was at the start" in output
    assert numbers("audit/note") == sorted([*range(1, 11)] * 2)
    assert numbers("clinic/cure") == [*range(1, 11)]  # those of bob
    assert DeadLetter.objects.count() == 10


def test_several_members_of_a_group_end_when_all_of_them_together_are_done(site: Site, created: None) -> None:
    for number in range(30):
        make_entry(f"account {number}")
    site.catch_up()
    members = [site.start("consume", "ledger", "--until-empty") for _ in range(3)]  # of two partitions
    for member in members:
        member.succeeds()
    assert numbers("ledger/book") == [1] * 30


def test_a_topic_without_events_and_one_that_kafka_lacks_have_nothing_to_wait_for(site: Site, broker: Broker) -> None:
    broker.create("ledger.entry-made")
    output = site.run("consume", "ledger", "--until-empty", AUTO_CREATE_TOPICS="False")
    assert "ledger: Kafka has no topic ledger.entry-closed, so there is nothing to handle in it" in output


def test_offsets_that_are_no_records_are_not_waited_for(site: Site, broker: Broker, created: None) -> None:
    broker.put_in_transaction("ledger.entry-made", b'{"account":"a","number":1}', 0, commit=True)
    broker.put_in_transaction("ledger.entry-made", b'{"account":"a","number":2}', 0, commit=False)
    broker.put_in_transaction("ledger.entry-made", b'{"account":"a","number":3}', 1, commit=False)
    site.run("consume", "audit", "--until-empty", KAFKA_CONSUMER=SPARED)
    assert numbers("audit/note") == [1]
    committed = broker.committed("audit", "ledger.entry-made", 0)
    assert committed is not None
    assert committed < broker.end("ledger.entry-made", 0)


def test_it_says_what_it_waits_for_and_ends_when_that_is_handled(
    broker: Broker,
    group: ConsumerGroup,
    consuming: Consuming,
    said: list[str],
    watchers: list[UntilEmpty],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(until_empty, "SAID_AFTER", 0.0)
    put(broker, 3, partition=1)
    watcher = watch(watchers, group, said)
    text = "waited-for: still waiting: the end is not reached of ledger.entry-made[1] at 0 of 3"
    wait_for(lambda: text in said)
    assert not watcher.is_empty
    with consuming(group):
        wait_for(lambda: watcher.is_empty)


def test_letters_that_are_not_in_the_table_are_waited_for(
    broker: Broker,
    group: ConsumerGroup,
    consuming: Consuming,
    said: list[str],
    watchers: list[UntilEmpty],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(until_empty, "SAID_AFTER", 0.0)
    letters = "ledger.entry-made.waited-for.dead-letter"
    broker.create(letters)
    broker.put(letters, b"{}", partition=0)
    watcher = watch(watchers, group, said)
    text = f"waited-for-dead-letter: still waiting: the end is not reached of {letters}[0] at 0 of 1"
    wait_for(lambda: text in said)
    assert not watcher.is_empty
    with consuming(group):
        wait_for(lambda: watcher.is_empty)


def test_what_comes_later_is_not_waited_for(
    broker: Broker,
    group: ConsumerGroup,
    consuming: Consuming,
    said: list[str],
    watchers: list[UntilEmpty],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(until_empty, "SAID_AFTER", 0.0)
    may_pass = threading.Event()

    @group.idempotent(entry_made)
    def hold_the_second(event: Event[EntryMade]) -> None:
        if event.offset:
            may_pass.wait()

    put(broker, 1)
    watcher = watch(watchers, group, said)
    wait_for(lambda: any("[0] at 0 of 1" in line for line in said))
    put(broker, 1)
    with consuming(group):
        try:
            wait_for(lambda: watcher.is_empty)
        finally:
            may_pass.set()


def test_a_group_that_is_beyond_the_end_by_then_has_reached_it(
    broker: Broker,
    group: ConsumerGroup,
    consuming: Consuming,
    said: list[str],
    watchers: list[UntilEmpty],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(until_empty, "SAID_AFTER", 0.0)
    put(broker, 1)
    watcher = watch(watchers, group, said)
    wait_for(lambda: said)
    put(broker, 2)
    with consuming(group, limits=Limits(commit_interval=60.0)) as service:  # the only commit is at the end
        wait_for(lambda: service.records_done == 3)
    wait_for(lambda: watcher.is_empty)


def test_a_group_that_begins_with_what_is_sent_from_now_on_has_nothing_old_to_handle(
    broker: Broker,
    created: None,
    declarations: None,
    transactional_db: None,
    consuming: Consuming,
    said: list[str],
    watchers: list[UntilEmpty],
) -> None:
    put(broker, 2)
    group = declare_group("late", start="latest")
    watcher = watch(watchers, group, said)
    with consuming(group) as service:
        wait_for(lambda: watcher.is_empty)
    assert service.records_done == 0


def test_while_kafka_is_away_it_says_so_and_goes_on(
    fragile: Broker,
    kafka_server: Any,
    declarations: None,
    said: list[str],
    watchers: list[UntilEmpty],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(until_empty, "SAID_AFTER", 0.0)
    fragile.create("ledger.entry-made")
    kafka_server.stop()
    watcher = watch(watchers, declare_group("patient"), said)
    wait_for(lambda: any("does not answer" in line for line in said))
    assert not watcher.is_empty
    kafka_server.restart()
    wait_for(lambda: watcher.is_empty)


def test_a_vault_that_is_away_at_the_start_is_waited_for(
    group: ConsumerGroup, said: list[str], watchers: list[UntilEmpty], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any option may come from a function, as a password does."""
    monkeypatch.setattr(until_empty, "SAID_AFTER", 0.0)
    vault = Vault("waited-for")
    kafka = {**settings.DJANGO_EVENTS["KAFKA"], "client.id": vault}
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA": kafka}
    watcher = watch(watchers, group, said)
    wait_for(lambda: any("still waiting: The function for 'client.id'" in line for line in said))
    assert not watcher.is_empty
    vault.is_open = True
    wait_for(lambda: watcher.is_empty)


def test_told_to_stop_before_that_it_is_no_success(site: Site, created: None, tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    make_entry("ann", hold=str(hold))
    site.catch_up()
    consumer = site.start("consume", "audit", "--until-empty", "--shutdown-timeout=60")
    wait_for(hold.with_suffix(".started").exists)
    make_entry("bob")
    consumer.signal(signal.SIGTERM)
    consumer.says("Stopping")
    hold.touch()
    assert consumer.ends() == 1
    assert "Stopped before everything was handled" in consumer.output
