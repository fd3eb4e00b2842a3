"""How much a group takes on: what is too much is paused, and whatever becomes of it, records come again."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from django_events import ConsumerGroup, Event
from django_events.consuming.limits import Limits
from django_events.consuming.offsets import InHand, Progress
from django_events.consuming.pausing import IN_VAIN, STILL, STILL_BESIDE_OTHERS, Pauses
from django_events.consuming.service import Service
from django_events.kafka import topics
from django_events.kafka.record import Partition
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_made
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.usefixtures("declarations")]


@pytest.fixture
def group(broker: Broker, transactional_db: None) -> ConsumerGroup:
    topics.create_missing(["ledger.entry-made"], timeout=60)
    return ConsumerGroup("limited")


def put(broker: Broker, key: str, count: int, partition: int = 0) -> None:
    broker.put_many(
        "ledger.entry-made", [b'{"account":"a","number":%d}' % n for n in range(count)], key.encode(), partition
    )


@pytest.fixture
def services() -> Iterator[list[Service]]:
    started: list[Service] = []
    yield started
    for service in started:
        assert service.stop(120)


def start(services: list[Service], group: ConsumerGroup, limits: Limits) -> None:
    service = Service([group], limits=limits)
    services.append(service)
    service.begin()


def test_a_key_that_waits_holds_up_no_other_key_although_it_has_more_than_the_group_may_have_in_hand(
    broker: Broker, group: ConsumerGroup, services: list[Service]
) -> None:
    handled: list[str | None] = []

    @group.idempotent(entry_made)
    def refuse_one_key(event: Event[EntryMade]) -> None:
        if event.key == "bad":
            raise ValueError("this key waits")
        handled.append(event.key)

    put(broker, "bad", 60)
    put(broker, "good", 60)
    start(services, group, Limits(active=20, in_hand_of_partition=1_000))
    wait_for(lambda: len(handled) >= 60)


def test_a_partition_is_paused_when_too_much_of_it_waits_and_the_other_goes_on(
    broker: Broker, group: ConsumerGroup, services: list[Service]
) -> None:
    handled: list[int | None] = []
    may_pass = threading.Event()

    @group.idempotent(entry_made)
    def refuse_one_partition(event: Event[EntryMade]) -> None:
        if event.partition == 0 and not may_pass.is_set():
            raise ValueError("this partition waits")
        handled.append(event.partition)

    put(broker, "a", 50, partition=0)
    put(broker, "b", 50, partition=1)
    start(services, group, Limits(in_hand_of_partition=10))
    wait_for(lambda: handled.count(1) >= 50)
    may_pass.set()
    wait_for(lambda: handled.count(0) >= 50)


class FakeConsumer:
    """Knows what is paused."""

    def __init__(self) -> None:
        self.paused: set[Partition] = set()
        self.calls = 0

    def pause(self, partition: Partition) -> None:
        self.calls += 1
        self.paused.add(partition)

    def resume(self, partition: Partition) -> None:
        self.calls += 1
        self.paused.remove(partition)


class Hand:
    """Two partitions of which a test takes on and finishes records."""

    def __init__(self, partitions: int, active: int = 1000) -> None:
        self.consumer: Any = FakeConsumer()
        self.pauses = Pauses(in_hand_of_partition=10, active=active)
        self.ours = {Partition("t", number): Progress(Partition("t", number)) for number in range(partitions)}
        self.records: dict[Progress, list[InHand]] = {progress: [] for progress in self.ours.values()}
        self.active = 0
        self.may_poll(now=0.0)

    def take_on(self, number: int, count: int) -> bool:
        progress = self.ours[Partition("t", number)]
        for offset in range(count):
            self.records[progress].append(progress.started(offset, 1))
            self.active += 1
            is_too_much = self.pauses.took_on(progress, self.active)
        return is_too_much

    def finish(self, number: int, count: int, now: float = 0.0) -> None:
        progress = self.ours[Partition("t", number)]
        for _ in range(count):
            progress.finished(self.records[progress].pop(0))
            self.active -= 1
            self.pauses.finished(self.consumer, progress, now)

    def may_poll(self, now: float, *, is_idle: bool = False) -> bool:
        return self.pauses.may_poll(self.consumer, self.ours, self.active, now, is_idle=is_idle)

    def wait(self, since: float = 0.0) -> None:
        """Until what is too much is paused."""
        assert not self.may_poll(now=since)
        assert self.may_poll(now=since + STILL)

    @property
    def paused(self) -> list[int]:
        return sorted(partition.number for partition in self.consumer.paused)


def test_where_nothing_else_is_to_be_fetched_nothing_is_paused_for_a_while() -> None:
    hand = Hand(partitions=1)
    assert [hand.take_on(0, 9), hand.take_on(0, 1)] == [False, True]
    assert not hand.may_poll(now=0.0)
    hand.finish(0, 4)
    assert not hand.may_poll(now=STILL * 0.9)
    hand.finish(0, 1)
    assert hand.may_poll(now=STILL * 2)
    assert not hand.consumer.calls


def test_what_stays_too_much_is_paused_so_that_kafka_is_polled_again() -> None:
    hand = Hand(partitions=2)
    for number in (0, 1):
        hand.take_on(number, 10)
    hand.wait()
    assert hand.paused == [0, 1]
    hand.finish(1, 5)
    assert hand.paused == [0]
    assert hand.may_poll(now=STILL)


def test_a_full_partition_is_paused_soon_for_the_sake_of_another() -> None:
    hand = Hand(partitions=2)
    hand.take_on(0, 10)
    assert not hand.may_poll(now=0.0)
    assert hand.may_poll(now=STILL_BESIDE_OTHERS)
    assert hand.paused == [0]
    assert hand.may_poll(now=STILL_BESIDE_OTHERS)
    hand.finish(0, 5)
    assert hand.paused == []


def test_while_nothing_runs_a_full_partition_is_paused_at_once_for_the_sake_of_another() -> None:
    hand = Hand(partitions=2)
    hand.take_on(0, 10)
    assert hand.may_poll(now=0.0, is_idle=True)
    assert hand.paused == [0]


def test_where_nothing_else_is_to_be_fetched_it_is_waited_also_while_nothing_runs() -> None:
    hand = Hand(partitions=1)
    hand.take_on(0, 10)
    assert not hand.may_poll(now=0.0, is_idle=True)
    assert not hand.may_poll(now=STILL * 0.9, is_idle=True)


@pytest.mark.parametrize(
    ("pause", "later", "is_at_once"),
    [
        (10.0, 0.0, True),
        (10.0, IN_VAIN / 2, True),
        (10.0, IN_VAIN, False),
        (STILL_BESIDE_OTHERS / 2, 0.0, False),  # it is mostly a quick one: to wait for it costs less
    ],
)
def test_after_a_pause_that_a_wait_would_not_have_spared_there_is_no_wait_for_some_seconds(
    pause: float, later: float, is_at_once: bool
) -> None:
    hand = Hand(partitions=2)
    hand.take_on(0, 10)
    hand.wait()
    resumed = STILL + pause
    hand.finish(0, 10, now=resumed)
    assert hand.may_poll(now=resumed + later)
    hand.take_on(0, 10)
    assert hand.may_poll(now=resumed + later) is is_at_once
    assert bool(hand.paused) is is_at_once


def test_a_partition_that_was_given_up_meanwhile_is_waited_for_again() -> None:
    hand = Hand(partitions=2)
    hand.take_on(0, 10)
    hand.wait()
    hand.finish(0, 10, now=10.0)
    hand.pauses.forget(Partition("t", 0))
    assert hand.may_poll(now=10.0)
    hand.take_on(0, 10)
    assert not hand.may_poll(now=10.0)


def test_a_wait_counts_from_the_last_poll_on_whatever_kept_the_group_from_it() -> None:
    hand = Hand(partitions=2)
    hand.take_on(0, 10)
    assert hand.may_poll(now=STILL_BESIDE_OTHERS)
    assert hand.paused == [0]


def test_partitions_that_are_full_for_a_moment_only_are_not_paused() -> None:
    hand = Hand(partitions=2)
    for at, number in enumerate((0, 1, 0)):
        assert hand.may_poll(now=float(at))
        hand.take_on(number, 10)
        assert not hand.may_poll(now=float(at))
        hand.finish(number, 10)
        assert hand.may_poll(now=at + STILL_BESIDE_OTHERS / 2)
    assert not hand.consumer.calls


def test_another_partition_that_is_full_meanwhile_has_a_wait_of_its_own() -> None:
    hand = Hand(partitions=3)
    hand.take_on(0, 10)
    assert not hand.may_poll(now=0.0)
    assert hand.may_poll(now=STILL_BESIDE_OTHERS)
    hand.take_on(1, 10)
    assert not hand.may_poll(now=STILL_BESIDE_OTHERS * 1.9)
    assert hand.paused == [0]
    assert hand.may_poll(now=STILL_BESIDE_OTHERS * 2.1)
    assert hand.paused == [0, 1]


def test_when_there_are_others_again_the_wait_is_the_short_one() -> None:
    hand = Hand(partitions=2)
    for number in (0, 1):
        hand.take_on(number, 10)
    assert not hand.may_poll(now=STILL_BESIDE_OTHERS)
    hand.finish(1, 5)
    assert hand.may_poll(now=STILL_BESIDE_OTHERS)
    assert hand.paused == [0]


def test_a_group_with_too_much_in_all_polls_again_at_half_of_it() -> None:
    hand = Hand(partitions=2, active=8)
    assert hand.take_on(0, 8)
    hand.wait()
    assert hand.paused == [0, 1]
    hand.finish(0, 3)
    assert hand.may_poll(now=STILL)
    assert hand.paused == [0, 1]
    hand.finish(0, 1)
    assert hand.may_poll(now=STILL)
    assert hand.paused == []


def test_a_partition_that_has_room_again_waits_while_the_group_has_too_much_in_all() -> None:
    hand = Hand(partitions=2, active=12)
    hand.take_on(0, 10)
    hand.wait()
    assert hand.take_on(1, 2)
    hand.wait(since=STILL)
    hand.finish(0, 5)
    assert hand.paused == [0, 1]
    hand.finish(0, 1)
    assert hand.may_poll(now=STILL)
    assert hand.paused == []


def test_a_partition_that_has_no_room_stays_paused_when_the_group_has_room_again() -> None:
    hand = Hand(partitions=2, active=12)
    hand.take_on(0, 10)
    hand.wait()
    hand.take_on(1, 2)
    hand.wait(since=STILL)
    hand.finish(1, 2)
    hand.finish(0, 4)
    assert hand.may_poll(now=STILL)
    assert hand.paused == [0]
    assert hand.consumer.calls == 3, "nor was it resumed in between: what librdkafka had fetched would be gone"


def test_a_partition_that_was_paused_when_it_was_given_up_fetches_when_it_comes_back() -> None:
    """librdkafka may keep it paused meanwhile."""
    hand = Hand(partitions=2)
    hand.take_on(0, 10)
    hand.wait()
    back = Partition("t", 0)
    hand.pauses.forget(back)
    hand.ours[back] = Progress(back)
    hand.pauses.settle(hand.consumer, [back])
    assert hand.may_poll(now=0.0)
    assert hand.paused == []


def has_one_of_two(service: Service) -> list[Partition]:
    """The partition that it has; nothing while it has both, because the session of the other one has ended."""
    found = [*service._groups[0]._progress]
    return found if len(found) == 1 else []


def test_after_a_rebalance_in_the_middle_of_too_much_each_process_handles_what_it_has(
    broker: Broker, group: ConsumerGroup, services: list[Service]
) -> None:
    handled: list[tuple[int, int | None, int | None]] = []
    may_end = threading.Event()

    @group.idempotent(entry_made)
    def wait_once(event: Event[EntryMade]) -> None:
        may_end.wait()
        handled.append((threading.get_ident(), event.partition, event.offset))

    for partition in (0, 1):
        for number in range(10):
            put(broker, f"key-{number}", 10, partition)
    limits = Limits(active=30, in_hand_of_partition=20, workers=2, drain=0.1)  # some of both partitions
    start(services, group, limits)
    wait_for(lambda: services[0]._groups[0]._pauses._is_all_full)
    start(services, group, limits)  # takes a partition away, with all that is in hand of it
    (moved,) = wait_for(lambda: has_one_of_two(services[1]))
    may_end.set()
    wait_for(lambda: len({(partition, offset) for _, partition, offset in handled}) == 200)
    workers = {thread.ident for thread in services[0]._groups[0]._workers._threads}
    by_the_first = [offset for thread, number, offset in handled if thread in workers and number == moved.number]
    assert len(by_the_first) <= 2  # what it was in the middle of, and nothing that it had in its queues
    assert services[1].stop(120)
    for number in range(10):
        put(broker, f"key-{number}", 1, moved.number)
    wait_for(
        lambda: {(thread in workers, offset) for thread, _, offset in handled} >= {(True, n) for n in range(100, 110)}
    )
