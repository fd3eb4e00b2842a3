"""How many workers a handler with short calls gets at once, and which of those that are idle is next."""

import threading
import time
from collections.abc import Callable
from threading import Barrier

import pytest

from django_events import Batch, ConsumerGroup, Event, Topic
from django_events.consuming import workers as workers_
from django_events.consuming.crews import FEWEST, FULL, IDLE, LOOK, MANY, ROOM, SHARE, Crew, Crews
from django_events.consuming.handing_out import HandingOut
from django_events.consuming.offsets import Progress
from django_events.consuming.outcome import Handled
from django_events.consuming.queues import Queues
from django_events.consuming.sharing import LONGEST, MOST, Sharing
from django_events.consuming.work import Work
from django_events.consuming.workers import Unit, Workers
from django_events.kafka.record import Partition, ReceivedRecord
from tests.waiting import wait_for

Payload = dict[str, int]


BUSY = (FULL + MANY) / 2
"""More than enough for one processor, and not what several would be used for."""


def crew(size: int, most: int = 16, *, was_too_small: bool = True, own: float = 1.0) -> Crew:
    """One that has been this large for a while, with a handler that has used so much of what the process has."""
    made = Crew(most)
    made.size, made.was_too_small, made._own = size, was_too_small, own
    return made


@pytest.mark.parametrize(
    ("size", "usage", "then"),
    [
        (2, IDLE / 2, 16),  # nothing keeps Python busy
        (2, (IDLE + ROOM) / 2, 3),  # there is room: one more
        (16, (IDLE + ROOM) / 2, 16),
        (5, (ROOM + FULL) / 2, 5),  # as it should be
        (16, BUSY, 10),  # they wait for Python's lock
        (3, BUSY, FEWEST),
        (FEWEST, BUSY, FEWEST),
        (4, MANY + 1, 5),  # several processors work, so it is not Python's lock that is waited for
    ],
)
def test_it_grows_where_there_is_room_and_shrinks_where_python_has_no_more(size: int, usage: float, then: int) -> None:
    changed = crew(size)
    changed.look(usage, usage)
    assert changed.size == then
    assert not changed.was_too_small


def test_calls_that_let_go_of_pythons_lock_get_more_and_more() -> None:
    """As those that compute in C: two of them use two processors."""
    computes_in_c = crew(16)
    for _ in range(30):
        computes_in_c.was_too_small = True
        computes_in_c.look(float(computes_in_c.size), float(computes_in_c.size))
    assert computes_in_c.size == 16


def test_after_a_backlog_it_is_whole_again_although_nothing_waits() -> None:
    """So that what comes then, all at once, does not stand in one worker's unit behind a call that hangs."""
    rested = crew(FEWEST, was_too_small=False)
    rested.look(IDLE / 2, 0.0)
    assert rested.is_whole


@pytest.mark.parametrize("usage", [(IDLE + ROOM) / 2, MANY + 1])
def test_it_does_not_grow_while_it_keeps_nothing_waiting(usage: float) -> None:
    unchanged = crew(3, was_too_small=False)
    unchanged.look(usage, usage)
    assert unchanged.size == 3


def test_what_others_keep_python_busy_with_takes_no_worker_away_and_gives_some_back() -> None:
    """As a group whose calls wait for a service, beside one with a backlog of short ones."""
    bystander = crew(8, own=0.0)
    bystander.look(BUSY, BUSY * SHARE / 2)
    assert bystander.size == 9


@pytest.mark.parametrize("usage", [0.0, BUSY])
def test_a_group_with_one_worker_has_a_crew_of_one(usage: float) -> None:
    alone = crew(1, most=1)
    alone.look(usage, usage)
    assert alone.size == 1
    assert alone.is_whole


def test_what_is_used_is_counted_from_look_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    process, handler = [10.0], [0.0]
    looks: list[tuple[float, float]] = []
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    monkeypatch.setattr(time, "process_time", lambda: process[0])
    monkeypatch.setattr(Crew, "look", lambda self, usage, own: looks.append((usage, own)))
    ours = Crews(["handle"], 8, lambda name: handler[0])
    ours.look(100.0 + LOOK / 2)  # that is not long ago
    assert looks == []
    process[0], handler[0] = 12.0, 1.0
    ours.look(104.0)
    ours.look(104.0)
    process[0] = 13.0
    ours.look(105.0)
    assert looks == [(0.5, 0.25), (1.0, 0.0)]


class Pool:
    """In place of workers: what it is given stays with it."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.units: list[Unit[list[Work]]] = []
        self.shared = Sharing()

    def sharing(self, handler: str) -> Sharing:
        return self.shared

    def submit(self, unit: Unit[list[Work]]) -> None:
        self.units.append(unit)


@pytest.fixture
def queues() -> Queues:
    return Queues()


@pytest.fixture
def pool() -> Pool:
    return Pool(8)


PLACE = Partition("crews", 0)


def record(number: int) -> ReceivedRecord:
    return ReceivedRecord(PLACE, number, str(number).encode(), b"{}", [], None)


def handing_out(group: ConsumerGroup, queues: Queues, pool: Pool, works: int) -> HandingOut:
    progress = Progress(PLACE)
    for number in range(works):
        queues.add(Work(group.handlers[0], record(number), progress, progress.started(number, 1)), 0.0)
    return HandingOut(group.handlers, queues, pool)  # type: ignore[arg-type]


@pytest.fixture
def topic(declarations: None) -> Topic[Payload]:
    return Topic("crews", Payload)


@pytest.fixture
def group(topic: Topic[Payload]) -> ConsumerGroup:
    return ConsumerGroup("crews")


def handle(event: Event[Payload]) -> None: ...


def shrunk(given: HandingOut, size: int, monkeypatch: pytest.MonkeyPatch) -> HandingOut:
    """It has found this to be enough, and does not look for now."""
    given._crews["handle"].size = size
    monkeypatch.setattr(given._crews, "look", lambda now: None)
    return given


Declare = Callable[[ConsumerGroup, Topic[Payload]], object]
SHORT: list[Declare] = [
    lambda group, topic: group.exactly_once(topic)(handle),
    lambda group, topic: group.exactly_once(topic, shared_transaction=False)(handle),
    lambda group, topic: group.idempotent(topic)(handle),
]


@pytest.mark.parametrize("declare", SHORT)
def test_short_calls_get_no_more_than_the_crew(
    topic: Topic[Payload],
    group: ConsumerGroup,
    queues: Queues,
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
    declare: Declare,
) -> None:
    declare(group, topic)
    given = shrunk(handing_out(group, queues, pool, 1_000), 3, monkeypatch)
    given.hand_out(0.0)
    assert [len(unit.records) for unit in pool.units] == [MOST] * 3
    assert given._crews["handle"].was_too_small


@pytest.mark.parametrize("declare", SHORT)
def test_until_python_is_busy_all_workers_get_something(
    topic: Topic[Payload], group: ConsumerGroup, queues: Queues, pool: Pool, declare: Declare
) -> None:
    declare(group, topic)
    handing_out(group, queues, pool, pool.count).hand_out(0.0)
    assert [len(unit.records) for unit in pool.units] == [1] * pool.count


def test_calls_of_which_one_takes_the_time_of_a_transaction_get_all_workers(
    topic: Topic[Payload], group: ConsumerGroup, queues: Queues, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    group.exactly_once(topic)(handle)
    pool.shared.called(LONGEST)
    shrunk(handing_out(group, queues, pool, 1_000), 1, monkeypatch).hand_out(0.0)
    assert [len(unit.records) for unit in pool.units] == [1] * pool.count


def test_a_thread_that_seldom_looks_has_no_crews(
    topic: Topic[Payload], group: ConsumerGroup, queues: Queues, pool: Pool
) -> None:
    group.idempotent(topic)(handle)
    handing_out(group, queues, pool, 1_000)
    given = HandingOut(group.handlers, queues, pool, has_crews=False)  # type: ignore[arg-type]
    given._crews["handle"].size = 1
    given.hand_out(0.0)
    assert len(pool.units) >= pool.count


def test_batches_have_the_workers_that_they_say(
    topic: Topic[Payload], group: ConsumerGroup, queues: Queues, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    @group.exactly_once(topic, batch=Batch(size=10, parallel=4))
    def handle(events: list[Event[Payload]]) -> None: ...

    shrunk(handing_out(group, queues, pool, 1_000), 1, monkeypatch).hand_out(0.0)
    assert [len(unit.records) for unit in pool.units] == [10] * 4


def test_a_declared_concurrency_is_not_exceeded(
    topic: Topic[Payload], group: ConsumerGroup, queues: Queues, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    group.exactly_once(topic, concurrency=3)(handle)
    shrunk(handing_out(group, queues, pool, 1_000), 5, monkeypatch).hand_out(0.0)
    assert len(pool.units) == 3


def test_while_calls_hang_others_get_all_workers(
    topic: Topic[Payload], group: ConsumerGroup, queues: Queues, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    group.exactly_once(topic)(handle)
    given = handing_out(group, queues, pool, 1_000)
    given._crews["handle"].size = 1
    now = given._crews._looked_at
    monkeypatch.setattr(time, "process_time", lambda: given._crews._used)
    given.hand_out(now)
    assert len(pool.units) == 1
    given.hand_out(now + 2 * LOOK)
    assert len(pool.units) >= pool.count


def test_of_idle_workers_the_one_that_was_busy_last_is_next(topic: Topic[Payload], group: ConsumerGroup) -> None:
    """So a group with little to do has one connection to the database, and not one for each worker."""
    threads: set[str] = set()

    @group.idempotent(topic)
    def handle(event: Event[Payload]) -> None:
        threads.add(threading.current_thread().name)

    workers: Workers[int] = Workers(4, "crews")
    for number in range(8):
        workers.submit(Unit(number, group.handlers[0], [record(number)], 1))
        workers.results.get(timeout=60)
        wait_for(lambda: len(workers._idle) == workers.count)
    workers.stop(30)
    assert len(threads) == 1


def test_what_comes_while_an_idle_worker_closes_its_connections_is_for_the_others(
    topic: Topic[Payload], group: ConsumerGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection may hang when it is looked at."""
    group.idempotent(topic)(handle)
    closing, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        if not closing.is_set():
            closing.set()
            go_on.wait(timeout=60)

    monkeypatch.setattr(workers_, "IDLE", 0.01)
    monkeypatch.setattr(workers_, "close_obsolete_connections", hang)
    workers: Workers[int] = Workers(2, "crews")
    assert closing.wait(timeout=60)
    for number in range(10):
        workers.submit(Unit(number, group.handlers[0], [record(number)], 1))
    assert [workers.results.get(timeout=60).subject for _ in range(10)] == [*range(10)]
    go_on.set()
    workers.stop(30)


def test_all_workers_work_where_there_is_enough(topic: Topic[Payload], group: ConsumerGroup) -> None:
    barrier = Barrier(4)

    @group.idempotent(topic)
    def handle(event: Event[Payload]) -> None:
        barrier.wait(timeout=60)

    workers: Workers[int] = Workers(4, "crews")
    for number in range(8):
        workers.submit(Unit(number, group.handlers[0], [record(number)], 1))
    results = [workers.results.get(timeout=60) for _ in range(8)]
    workers.stop(30)
    assert {type(outcome) for result in results for outcome in result.outcomes} == {Handled}
