"""P9: the events of one key are handled one after the other and in order; other keys run at the same time."""

import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from django_events import ConsumerGroup, Event
from django_events.consuming.service import Service
from django_events.kafka import topics
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_made
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

Consuming = Callable[..., AbstractContextManager[Service]]


@pytest.fixture(autouse=True)
def created(broker: Broker) -> None:
    topics.create_missing(["ledger.entry-made"], timeout=60)


def put(broker: Broker, key: str, number: int) -> None:
    body = b'{"account":"%s","number":%d}' % (key.encode(), number)
    broker.put("ledger.entry-made", body, key=key.encode(), partition=0)


def test_events_of_a_key_are_handled_one_at_a_time_in_order_while_others_run(
    broker: Broker, consuming: Consuming, declarations: None
) -> None:
    group = ConsumerGroup("parallel")
    lock = threading.Lock()
    running: set[str] = set()
    together: list[str] = []
    handled: dict[str, list[int]] = defaultdict(list)

    @group.idempotent(entry_made)
    def watch(event: Event[EntryMade]) -> None:
        key = event.payload.account
        with lock:
            together.extend([key] if key in running else [])
            running.add(key)
        threading.Event().wait(0.001)  # long enough for another thread to come in
        with lock:
            handled[key].append(event.payload.number)
            running.remove(key)

    for number in range(40):
        for key in ("a", "b", "c", "d"):
            put(broker, key, number)
    with consuming(group):
        wait_for(lambda: sum(map(len, handled.values())) == 160)
    assert not together
    assert handled == {key: list(range(40)) for key in ("a", "b", "c", "d")}


def test_a_key_whose_handler_waits_holds_up_no_other_key(
    broker: Broker, consuming: Consuming, declarations: None
) -> None:
    group = ConsumerGroup("patient")
    other_came = threading.Event()
    handled = []

    @group.idempotent(entry_made)
    def wait_for_the_other(event: Event[EntryMade]) -> None:
        if event.key == "slow":
            assert other_came.wait(60), "the other key never came"
        handled.append(event.key)
        if event.key == "other":
            other_came.set()

    put(broker, "slow", 1)
    put(broker, "other", 1)
    with consuming(group):
        wait_for(lambda: len(handled) == 2)
    assert handled == ["other", "slow"]


def test_events_behind_one_that_fails_wait_and_keep_their_order(
    broker: Broker, consuming: Consuming, declarations: None
) -> None:
    group = ConsumerGroup("ordered")
    handled: list[tuple[str | None, int]] = []
    failures = iter([True])

    @group.idempotent(entry_made)
    def fail_at_first(event: Event[EntryMade]) -> None:
        is_first = event.key == "ill" and event.payload.number == 1
        if is_first and (next(failures, False) or ("well", 1) not in handled):
            raise ValueError("the first try fails, and all while the other key has not come")
        handled.append((event.key, event.payload.number))

    for number in (1, 2, 3):
        put(broker, "ill", number)
    put(broker, "well", 1)
    with consuming(group):
        wait_for(lambda: len(handled) == 4)
    assert handled == [("well", 1), ("ill", 1), ("ill", 2), ("ill", 3)]


def test_events_without_key_run_side_by_side(broker: Broker, consuming: Consuming, declarations: None) -> None:
    group = ConsumerGroup("keyless")
    both = threading.Barrier(2)
    handled = []

    @group.idempotent(entry_made)
    def meet(event: Event[EntryMade]) -> None:
        both.wait(60)
        handled.append(event.offset)

    for number in (1, 2):
        broker.put("ledger.entry-made", b'{"account":"ann","number":%d}' % number, partition=0)
    with consuming(group):
        wait_for(lambda: len(handled) == 2)
