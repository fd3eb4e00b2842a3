"""One unit at one worker, without Kafka: what happens to one event leaves nothing behind for the others."""

import gc
import threading
import time
import uuid
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import structs
from psycopg.errors import DeadlockDetected, DivisionByZero, LockNotAvailable, SerializationFailure

from django_events import Batch, BatchItemError, ConsumerGroup, Event, IgnoreError, OnFailure, Topic
from django_events.consuming import attempt, handing_out, sharing, slowness, trying
from django_events.consuming import group as groups
from django_events.consuming.concluding import conclude
from django_events.consuming.group import GroupThread
from django_events.consuming.handing_out import HandingOut
from django_events.consuming.limits import Limits
from django_events.consuming.marks import mark_of
from django_events.consuming.offsets import Progress
from django_events.consuming.outcome import Failed, Handled, NotBegun, Outcome, Postponed
from django_events.consuming.queues import Queues
from django_events.consuming.reading import read_event
from django_events.consuming.sharing import LONGEST, LONGEST_SINGLY, Sharing
from django_events.consuming.trying import Trial
from django_events.consuming.work import Work
from django_events.consuming.workers import Result, Unit, Workers
from django_events.handlers import Handler
from django_events.kafka.consumer import LONGEST_POLL
from django_events.kafka.record import Partition, ReceivedRecord
from django_events.models import ProcessedEvent
from django_events.signals import event_handled
from tests.ledger.models import Entry
from tests.waiting import wait_for

pytestmark = [pytest.mark.postgres, pytest.mark.usefixtures("declarations", "transactional_db")]

Payload = dict[str, Any]
Single = Event[Payload]
Several = list[Event[Payload]]

PLACE = Partition("units", 0)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a unit is never over, however slow the machine."""
    monkeypatch.setattr(trying, "LONGEST", 600.0)
    monkeypatch.setattr(handing_out, "LONGEST", 600.0)
    monkeypatch.setattr(handing_out, "LONGEST_SINGLY", 600.0)


@pytest.fixture
def topic() -> Topic[Payload]:
    return Topic("units", Payload)


@pytest.fixture
def group() -> ConsumerGroup:
    return ConsumerGroup("units")


def record(number: int) -> ReceivedRecord:
    headers: list[tuple[str, bytes | None]] = [
        ("ce_specversion", b"1.0"), ("ce_source", b"s"), ("ce_type", b"t"), ("ce_id", b"i%d" % number)
    ]  # fmt: skip
    return ReceivedRecord(PLACE, number, None, b'{"n":%d}' % number, headers, None)


def tried(
    group: ConsumerGroup,
    count: int,
    known: Sharing | None = None,
    may_begin: Callable[[int], bool] = lambda at: True,
    first: int = 0,
) -> list[Outcome]:
    records = [record(number) for number in range(first, first + count)]
    return Trial(group.handlers[0], records, 1, known or Sharing(), may_begin).outcomes()


def declare(group: ConsumerGroup, topic: Topic[Payload], handle: Any, batch: Batch | None) -> None:
    (group.exactly_once(topic, batch=batch) if batch else group.exactly_once(topic))(handle)


def enter(event: Single) -> None:
    Entry.objects.create(handler="h", account="a", number=event.payload["n"], process=0)


def entered() -> list[int]:
    return sorted(Entry.objects.values_list("number", flat=True))


class Pool:
    """Workers that only note what they are given."""

    count = 8

    def __init__(self) -> None:
        self.handlers: list[str] = []
        self.sizes: list[int] = []
        self.units: list[Any] = []
        self.submitted: list[Any] = []
        self.known = Sharing()

    def sharing(self, handler: str) -> Sharing:
        return self.known

    def submit(self, unit: Any) -> None:
        self.handlers.append(unit.handler.name)
        self.sizes.append(len(unit.records))
        self.units.append(unit.subject)
        self.submitted.append(unit)


@pytest.mark.parametrize(
    ("works", "idle", "sizes"),
    [
        (16, 8, [2] * 8),  # all workers alike
        (5, 8, [1] * 5),
        (100, 1, [50, 50]),  # one more than there are workers, if it is full: it cannot become more
        (70, 1, [50]),
    ],
)
def test_what_there_is_goes_to_all_idle_workers_and_only_full_units_wait_for_one(
    topic: Topic[Payload], group: ConsumerGroup, works: int, idle: int, sizes: list[int]
) -> None:
    group.idempotent(topic)(print)
    queues, pool, progress = Queues(), Pool(), Progress(PLACE)
    pool.count = idle
    for number in range(works):
        queues.add(Work(group.handlers[0], record(number), progress, progress.started(number, 1)), 0.0)
    HandingOut(group.handlers, queues, pool, None).hand_out(0.0)  # type: ignore[arg-type]
    assert pool.sizes == sizes


@pytest.mark.parametrize(
    ("declare", "size"),
    [
        (lambda group, topic: group.exactly_once(topic), 20),
        (lambda group, topic: group.exactly_once(topic, shared_transaction=False), 8),
        (lambda group, topic: group.idempotent(topic), 8),
    ],
)
def test_one_go_of_calls_that_take_a_while_is_short_where_a_longer_one_saves_nothing(
    topic: Topic[Payload],
    group: ConsumerGroup,
    monkeypatch: pytest.MonkeyPatch,
    declare: Callable[..., Any],
    size: int,
) -> None:
    monkeypatch.setattr(handing_out, "LONGEST", LONGEST)
    monkeypatch.setattr(handing_out, "LONGEST_SINGLY", LONGEST_SINGLY)
    declare(group, topic)(print)
    queues, pool, progress = Queues(), Pool(), Progress(PLACE)
    pool.count = 1
    pool.sharing(group.handlers[0].name).called(0.0025)
    for number in range(100):
        queues.add(Work(group.handlers[0], record(number), progress, progress.started(number, 1)), 0.0)
    HandingOut(group.handlers, queues, pool, None).hand_out(0.0)  # type: ignore[arg-type]
    assert pool.sizes == [size] * 2


def test_each_attribute_of_an_event_is_what_its_record_says(topic: Topic[Payload], group: ConsumerGroup) -> None:
    @group.idempotent(topic)
    def handle(event: Single) -> None: ...

    headers: list[tuple[str, bytes | None]] = [
        ("ce_specversion", b"1.1"), ("ce_id", b"one"), ("ce_source", b"shop"), ("ce_type", b"kind"),
        ("ce_subject", b"it"), ("ce_time", b"2026-01-02T03:04:05Z"), ("ce_dataschema", b"shape"),
        ("content-type", b"text/json"), ("ce_sequence", b"7"), ("mine", b"own"), ("empty", None),
    ]  # fmt: skip
    given = ReceivedRecord(Partition("units", 3), 9, b"key", b'{"n": 1}', headers, 1_500)
    assert structs.asdict(read_event(group.handlers[0], given, 4)) == {
        "topic": "units",
        "key": "key",
        "payload": {"n": 1},
        "data": b'{"n": 1}',
        "content_type": "text/json",
        "id": "one",
        "source": "shop",
        "type": "kind",
        "subject": "it",
        "time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "dataschema": "shape",
        "specversion": "1.1",
        "extensions": {"sequence": "7"},
        "headers": (("mine", "own"), ("empty", None)),
        "base_topic": "units",
        "partition": 3,
        "offset": 9,
        "timestamp": datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC),
        "group": "units",
        "handler": "handle",
        "attempt": 4,
        "identity": ("units", "shop", "one"),
    }


def test_a_handler_has_no_more_units_than_it_wants(topic: Topic[Payload], group: ConsumerGroup) -> None:
    group.idempotent(topic, concurrency=2)(print)
    queues, pool, progress = Queues(), Pool(), Progress(PLACE)
    handing_out = HandingOut(group.handlers, queues, pool, None)  # type: ignore[arg-type]
    for number in range(200):
        queues.add(Work(group.handlers[0], record(number), progress, progress.started(number, 1)), 0.0)
    handing_out.hand_out(0.0)
    handing_out.hand_out(0.0)
    assert pool.sizes == [50, 50]
    handing_out.came_back(pool.units[0])
    handing_out.hand_out(0.0)
    assert pool.sizes == [50, 50, 50]


@pytest.mark.parametrize("concurrency", [1, None])
def test_a_handler_is_not_kept_waiting_by_the_backlog_of_another(
    topic: Topic[Payload], group: ConsumerGroup, concurrency: int | None
) -> None:
    group.idempotent(topic, name="busy")(print)
    group.idempotent(topic, name="other", concurrency=concurrency)(print)
    busy, other = group.handlers
    queues, pool, progress = Queues(), Pool(), Progress(PLACE)
    handing_out = HandingOut(group.handlers, queues, pool, None)  # type: ignore[arg-type]
    for number in range(400):
        queues.add(Work(busy, record(number), progress, progress.started(number, 1)), 0.0)
    handing_out.hand_out(0.0)
    assert {*pool.handlers} == {"busy"}
    assert len(pool.handlers) >= pool.count
    queues.add(Work(other, record(500), progress, progress.started(500, 1)), 1.0)
    handing_out.hand_out(1.0)
    assert pool.handlers[-1] == "other"


def test_a_shared_transaction_grows_again_after_it_has_shrunk_to_one_event(
    topic: Topic[Payload], group: ConsumerGroup
) -> None:
    @group.exactly_once(topic)
    def handle(event: Single) -> None: ...

    known = Sharing(most=1)
    for go in range(5):
        tried(group, 50, known, first=100 * go)
    assert known.most > 1


class Clock:
    """The time of a test. Handlers move it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    monkeypatch.setattr(trying, "LONGEST", 0.05)
    monkeypatch.setattr(handing_out, "LONGEST", 0.05)
    return clock


def test_what_is_learned_of_a_handler_is_how_long_its_calls_take(
    topic: Topic[Payload], group: ConsumerGroup, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    @group.exactly_once(topic)
    def handle(event: Single) -> None:
        calls.append(event.payload["n"])
        clock.now += 0.004

    marked: list[int] = []
    mark_processed = ProcessedEvent.objects.mark_processed

    def noted(marks: Any, *arguments: Any, **options: Any) -> Any:
        marked.append(len(marks))
        return mark_processed(marks, *arguments, **options)

    monkeypatch.setattr(ProcessedEvent.objects, "mark_processed", noted)
    known = Sharing(most=8)  # so that the second transaction of the unit has only the rest of its time
    outcomes = tried(group, 50, known)
    assert calls == list(range(13)), "52 ms"
    assert marked == [8, 4, 1]
    assert [type(outcome) for outcome in outcomes] == [Handled] * 13 + [NotBegun] * 37
    assert known.fitting(LONGEST) == 12
    assert known.most >= 16


def test_a_unit_ends_when_its_time_is_over_also_without_transactions(
    topic: Topic[Payload], group: ConsumerGroup, clock: Clock
) -> None:
    @group.idempotent(topic)
    def handle(event: Single) -> None:
        clock.now += 0.02

    assert [type(outcome) for outcome in tried(group, 5)] == [Handled] * 3 + [NotBegun] * 2, "60 ms"


@pytest.mark.parametrize("delivery", ["idempotent", "exactly_once"])
def test_a_slow_codec_reads_hardly_more_events_than_are_handled(
    topic: Topic[Payload], group: ConsumerGroup, clock: Clock, delivery: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read and not begun is read again: of fifty that take 10 ms each, the next unit would begin one, too."""
    read: list[int] = []

    def slowly(handler: Handler, record: ReceivedRecord, attempt: int) -> Event[Any]:
        clock.now += 0.01
        read.append(record.offset)
        return read_event(handler, record, attempt)

    monkeypatch.setattr(trying, "read_event", slowly)
    getattr(group, delivery)(topic)(enter)
    handled = [outcome for outcome in tried(group, 50) if isinstance(outcome, Handled)]
    assert 3 <= len(handled) <= len(read) <= len(handled) + 2


def test_what_a_failure_has_undone_has_the_time_of_a_unit_again(
    topic: Topic[Payload], group: ConsumerGroup, clock: Clock
) -> None:
    calls: list[int] = []

    @group.exactly_once(topic)
    def handle(event: Single) -> None:
        calls.append(event.payload["n"])
        clock.now += 0.012
        if event.payload["n"] == 3:
            raise ValueError("this one fails")

    tried(group, 10)
    assert calls == [0, 1, 2, 3, 0, 1, 2, 3, 4]


def test_how_much_is_shared_halves_after_a_failure_and_is_one_for_a_while_after_a_conflict(clock: Clock) -> None:
    known = Sharing()
    known.failed(is_conflict=False)
    assert (known.most, known.is_apart) == (25, False)
    known.failed(is_conflict=True)
    assert (known.most, known.is_apart) == (12, True)
    clock.now += sharing.APART
    assert not known.is_apart


@pytest.mark.parametrize(("is_conflict", "transactions"), [(True, 6), (False, 1)])
def test_after_a_conflict_each_event_has_a_transaction_of_its_own(
    topic: Topic[Payload], group: ConsumerGroup, is_conflict: bool, transactions: int
) -> None:
    seen: set[int] = set()

    @group.exactly_once(topic)
    def handle(event: Single) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT txid_current()")
            seen.add(cursor.fetchone()[0])

    known = Sharing()
    known.failed(is_conflict=is_conflict)
    assert {type(outcome) for outcome in tried(group, 6, known)} == {Handled}
    assert len(seen) == transactions


@pytest.mark.parametrize(
    ("cause", "is_apart"),
    [(DeadlockDetected, True), (SerializationFailure, True), (LockNotAvailable, True), (DivisionByZero, False)],
)
def test_who_was_in_the_way_of_others_has_its_events_apart(
    topic: Topic[Payload], group: ConsumerGroup, cause: type[psycopg.Error], is_apart: bool
) -> None:
    calls: list[int] = []

    @group.exactly_once(topic)
    def handle(event: Single) -> None:
        calls.append(event.payload["n"])
        if len(calls) == 2:
            raise DatabaseError("as if") from cause("as if")

    known = Sharing()
    assert {type(outcome) for outcome in tried(group, 3, known)} == {Handled}
    assert calls == [0, 1, 0, 1, 2]
    assert known.is_apart is is_apart


def test_one_slow_call_does_not_make_a_handler_slow() -> None:
    known = Sharing()
    known.called(0.001)
    known.called(0.009)
    assert known.seconds == pytest.approx(0.002)


def test_slow_calls_that_fail_are_learned_from(topic: Topic[Payload], group: ConsumerGroup, clock: Clock) -> None:
    @group.exactly_once(topic)
    def handle(event: Single) -> None:
        clock.now += 10
        raise ValueError("too late")

    known = Sharing()
    tried(group, 2, known)
    assert known.fitting(LONGEST) == 1


def test_after_a_hook_of_the_handler_no_more_is_marked_than_it_lets_be_done(
    topic: Topic[Payload], group: ConsumerGroup
) -> None:
    @group.exactly_once(topic)
    def handle(event: Single) -> None:
        if event.payload["n"] == 2:
            transaction.on_commit(lambda: None)

    known = Sharing()
    tried(group, 4, known)
    assert known.most == 6, "3 up to the hook, and twice as many after the rest had none"


def test_of_a_handler_that_always_registers_a_hook_no_event_is_marked_in_vain(
    topic: Topic[Payload], group: ConsumerGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    @group.exactly_once(topic)
    def handle(event: Single) -> None:
        transaction.on_commit(lambda: None)

    known = Sharing()
    tried(group, 10, known)
    unmarked: list[Any] = []
    monkeypatch.setattr(ProcessedEvent.objects, "unmark", lambda keys, using: unmarked.append(keys))
    assert {type(outcome) for outcome in tried(group, 10, known, first=10)} == {Handled}
    assert unmarked == []
    assert known.most == 1


def test_the_other_keys_do_not_wait_in_the_unit_of_a_slow_event(
    topic: Topic[Payload], group: ConsumerGroup, clock: Clock
) -> None:
    group.exactly_once(topic, name="slow")(enter)
    queues, pool, progress = Queues(), Pool(), Progress(PLACE)
    handing_out = HandingOut(group.handlers, queues, pool, None)  # type: ignore[arg-type]
    pool.known.called(1.0)
    for number in range(400):
        queues.add(Work(group.handlers[0], record(number), progress, progress.started(number, 1)), 0.0)
    handing_out.hand_out(0.0)
    assert pool.sizes == [1] * pool.count


def test_units_that_no_worker_has_begun_come_back_when_their_partition_is_given_up(
    topic: Topic[Payload], group: ConsumerGroup
) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    @group.idempotent(topic)
    def handle(event: Single) -> None:
        has_begun.set()
        may_end.wait()

    kept, given_up = Progress(PLACE), Progress(Partition("units", 1))
    workers: Workers[str] = Workers(1, "units")
    for name, progress in (("runs", [kept]), ("waits", [kept]), ("mixed", [kept, given_up]), ("gone", [given_up])):
        workers.submit(Unit(name, group.handlers[0], [record(0)] * len(progress), 1, progress))
    assert has_begun.wait(60)
    given_up.draining = True
    workers.take_back()
    back = [workers.results.get(timeout=60) for _ in range(2)]
    assert [result.subject for result in back] == ["mixed", "gone"]
    assert {type(outcome) for result in back for outcome in result.outcomes} == {NotBegun}
    may_end.set()
    assert [workers.results.get(timeout=60).subject for _ in range(2)] == ["runs", "waits"]
    workers.stop(30)


def test_a_partition_is_given_up_without_waiting_for_the_handlers_of_others(
    topic: Topic[Payload], group: ConsumerGroup
) -> None:
    may_end = threading.Event()

    @group.idempotent(topic)
    def wait(event: Single) -> None:
        may_end.wait()

    group.idempotent(topic, name="other")(print)
    kept, given_up = Progress(PLACE), Progress(Partition("units", 1))
    thread = GroupThread(group, Limits(), print)
    thread._workers = Workers(1, "units")
    thread._handing_out = HandingOut(group.handlers, thread._queues, thread._workers)
    for handler, progress in zip(group.handlers, (kept, given_up), strict=True):
        thread._queues.add(Work(handler, record(0), progress, progress.started(0, 1)), 0.0)
        thread._handing_out.hand_out(0.0)
    thread._drain({given_up}, deadline=time.monotonic() + 60)
    assert [work.progress for work in thread._running] == [kept]
    may_end.set()
    thread._workers.stop(30)


def test_partitions_are_given_up_for_no_longer_than_a_stop_that_comes_meanwhile_lets_handlers_finish(
    topic: Topic[Payload], group: ConsumerGroup
) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    @group.idempotent(topic)
    def wait(event: Single) -> None:
        has_begun.set()
        may_end.wait()

    progress = Progress(PLACE)
    thread = GroupThread(group, Limits(drain=600), print)
    thread._consumer = Silent()  # type: ignore[assignment]
    thread._workers = Workers(1, "units")
    thread._handing_out = HandingOut(group.handlers, thread._queues, thread._workers)
    thread._progress[PLACE] = progress
    thread._queues.add(Work(group.handlers[0], record(0), progress, progress.started(0, 1)), 0.0)
    thread._handing_out.hand_out(0.0)
    assert has_begun.wait(60)
    giving_up = threading.Thread(target=thread.revoked, args=([PLACE],))
    giving_up.start()
    wait_for(lambda: progress.draining)
    thread.stop(0)
    giving_up.join(60)
    has_ended = not giving_up.is_alive()
    may_end.set()
    giving_up.join(60)
    thread._workers.stop(30)
    assert has_ended


class Silent:
    """A consumer that has nothing, and nothing to commit. Notes for how long it was to wait for a record."""

    is_committing = False

    def __init__(self) -> None:
        self.waits: list[float] = []

    def take_uncommitted(self) -> set[Partition]:
        return set()

    def known_begin(self, partition: Partition) -> int:
        return -1

    def poll(self, timeout: float) -> None:
        self.waits.append(timeout)


@pytest.fixture
def idle(topic: Topic[Payload], group: ConsumerGroup, monkeypatch: pytest.MonkeyPatch) -> GroupThread:
    """A group's thread, not started, to which Kafka and its workers have nothing to say. Its first event is out."""
    group.idempotent(topic)(print)
    thread, progress = GroupThread(group, Limits(), print), Progress(PLACE)
    thread._consumer = Silent()  # type: ignore[assignment]
    thread._handing_out = HandingOut(group.handlers, thread._queues, Pool())  # type: ignore[arg-type]
    thread._progress[PLACE] = progress
    thread._commit_due = float("inf")
    monkeypatch.setattr(thread, "_hear_what_is_ours", lambda: None)  # however slow the machine
    thread._queues.add(Work(group.handlers[0], record(0), progress, progress.started(0, 1)), 0.0)
    thread._handing_out.hand_out(0.0)
    return thread


def test_while_a_handler_runs_its_group_looks_at_kafka_less_and_less_often(
    idle: GroupThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(idle, "_collect", lambda block: waits.append(block) or 0)  # type: ignore[func-returns-value]
    for _ in range(6):
        idle._turn()
    assert waits[::2] == [0.0] * 6
    assert waits[1::2] == [0.001, 0.002, 0.004, 0.008, 0.01, 0.01]
    assert idle._consumer.waits == [0.0] * 6  # type: ignore[attr-defined]


def test_while_its_workers_have_plenty_a_group_looks_at_kafka_only_now_and_then(
    idle: GroupThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle, "_collect", lambda block: 0)
    progress, (handler,) = idle._progress[PLACE], idle.group.handlers
    for number in range(1, 2_000):
        idle._queues.add(Work(handler, record(number), progress, progress.started(number, 1)), 0.0)
    monkeypatch.setattr(groups, "PLENTY_FOR", 600.0)
    idle._turn()
    idle._turn()
    assert len(idle._consumer.waits) == 1  # type: ignore[attr-defined]
    monkeypatch.setattr(groups, "PLENTY_FOR", 0.0)
    idle._turn()
    assert len(idle._consumer.waits) == 2  # type: ignore[attr-defined]


def test_what_is_not_polled_because_too_much_is_in_hand_is_no_look_at_kafka(
    idle: GroupThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or with plenty to do the next one would come later than it is to."""
    monkeypatch.setattr(idle, "_collect", lambda block: 0)
    progress, (handler,) = idle._progress[PLACE], idle.group.handlers
    for number in range(1, 2_000):
        idle._queues.add(Work(handler, record(number), progress, progress.started(number, 1)), 0.0)
    answers = [True, False, False]
    monkeypatch.setattr(idle._pauses, "may_poll", lambda *_, **__: answers.pop())
    monkeypatch.setattr(groups, "PLENTY_FOR", 600.0)
    for _ in range(4):
        idle._turn()
    assert not answers
    assert len(idle._consumer.waits) == 1  # type: ignore[attr-defined]


def test_a_group_tells_whether_anything_runs_for_which_a_full_partition_could_wait(
    idle: GroupThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []

    def may_poll(*_: object, is_idle: bool) -> bool:
        told.append(is_idle)
        return True

    monkeypatch.setattr(idle, "_collect", lambda block: 0)
    monkeypatch.setattr(idle._pauses, "may_poll", may_poll)
    idle._turn()
    (work,) = idle._running
    idle._handing_out.came_back([work])
    idle._queues.give_back(work.queue, [], None)
    idle._turn()
    assert told == [False, True]


HUNDREDS = Batch(size=100, parallel=3)


@pytest.mark.parametrize(("works", "batch", "has_plenty"), [
    (399, None, False), (400, None, True), (599, HUNDREDS, False), (600, HUNDREDS, True),
])  # fmt: skip
def test_how_much_is_plenty(
    topic: Topic[Payload], group: ConsumerGroup, works: int, batch: Batch | None, has_plenty: bool
) -> None:
    declare(group, topic, print, batch)
    queues, progress = Queues(), Progress(PLACE)
    for number in range(works):
        queues.add(Work(group.handlers[0], record(number), progress, progress.started(number, 1)), 0.0)
    assert HandingOut(group.handlers, queues, Pool()).has_plenty is has_plenty  # type: ignore[arg-type]


@pytest.mark.parametrize("due_in", [60.0, None])
def test_while_a_key_waits_or_there_is_nothing_to_do_a_group_waits_for_kafka(
    idle: GroupThread, monkeypatch: pytest.MonkeyPatch, due_in: float | None
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(idle, "_collect", lambda block: waits.append(block) or 0)  # type: ignore[func-returns-value]
    (work,) = idle._running
    idle._handing_out.came_back([work])
    due = time.monotonic() + due_in if due_in else None
    idle._queues.give_back(work.queue, [work] if due_in else [], due)
    for _ in range(3):
        idle._turn()
    assert waits == [0.0] * 3
    assert idle._consumer.waits == [LONGEST_POLL] * 3  # type: ignore[attr-defined]


def test_what_is_given_back_of_a_queue_is_in_front_of_the_other_queues(
    topic: Topic[Payload], group: ConsumerGroup
) -> None:
    group.idempotent(topic)(print)
    queues, progress = Queues(), Progress(PLACE)
    for number in range(3):
        queues.add(Work(group.handlers[0], record(number), progress, progress.started(number, 1)), 0.0)
    (first,) = queues.take("print", 1)
    queues.give_back(first.queue, [first], None)
    assert [work.record.offset for work in queues.take("print", 3)] == [0, 1, 2]


def test_what_of_a_unit_was_not_begun_keeps_its_order(topic: Topic[Payload], group: ConsumerGroup) -> None:
    group.idempotent(topic)(print)
    queues, pool, progress = Queues(), Pool(), Progress(PLACE)
    for number in range(4):
        queues.add(Work(group.handlers[0], record(number), progress, progress.started(number, 1)), 0.0)
    result = Result(queues.take("print", 3), [NotBegun()] * 3)
    handing_out = HandingOut(group.handlers, queues, pool)  # type: ignore[arg-type]
    conclude(result, queues, handing_out, finished=pytest.fail, follow=pytest.fail)  # type: ignore[arg-type]
    assert [work.record.offset for work in queues.take("print", 4)] == [0, 1, 2, 3]


def test_a_key_whose_unit_was_too_short_for_it_lets_the_other_keys_go_first(
    topic: Topic[Payload], group: ConsumerGroup
) -> None:
    """Else one whose events keep coming could keep the others waiting for ever."""
    group.idempotent(topic)(print)
    queues, progress = Queues(), Progress(PLACE)
    for number, key in enumerate((b"busy", b"busy", b"busy", b"other")):
        got = record(number)._replace(key=key)
        queues.add(Work(group.handlers[0], got, progress, progress.started(number, 1)), 0.0)
    done, not_begun = queues.take("print", 2)
    queues.give_back(done.queue, [not_begun], None)
    assert [work.record.offset for work in queues.take("print", 3)] == [3, 1, 2]


@pytest.mark.parametrize("parallel", [1, 100])
def test_a_batch_for_which_no_worker_is_free_wakes_nobody(
    topic: Topic[Payload], group: ConsumerGroup, parallel: int
) -> None:
    """Its moment is over and stays so: who waited for that moment would wait no time at all, again and again."""
    group.idempotent(topic, batch=Batch(size=1, wait=5.0, parallel=parallel))(print)
    queues, pool, progress = Queues(), Pool(), Progress(PLACE)
    handing_out = HandingOut(group.handlers, queues, pool, None)  # type: ignore[arg-type]
    for number in range(100):
        queues.add(Work(group.handlers[0], record(number), progress, progress.started(number, 1)), 0.0)
    handing_out.hand_out(10.0)
    assert handing_out.next_batch_due() is None
    handing_out.came_back(pool.units[0])
    assert handing_out.next_batch_due() == 5.0


def test_handlers_are_served_in_turn(topic: Topic[Payload], group: ConsumerGroup) -> None:
    for name in ("one", "two", "three"):
        group.idempotent(topic, name=name, concurrency=1)(print)
    queues, pool, progress = Queues(), Pool(), Progress(PLACE)
    pool.count = 1
    handing_out = HandingOut(group.handlers, queues, pool, None)  # type: ignore[arg-type]
    for number in range(1_000):
        for handler in group.handlers:
            queues.add(Work(handler, record(number), progress, progress.started(number, 1)), 0.0)
    for _ in range(3):
        handing_out.hand_out(0.0)
        for works in pool.units:
            handing_out.came_back(works)
        pool.units.clear()
    assert Counter(pool.handlers).keys() == {"one", "two", "three"}


def test_what_comes_after_one_of_its_key_that_may_not_begin_does_not_begin_either(
    topic: Topic[Payload], group: ConsumerGroup
) -> None:
    begun: list[int] = []

    @group.idempotent(topic)
    def handle(event: Single) -> None:
        begun.append(event.payload["n"])

    records = [record(number)._replace(key=key) for number, key in enumerate((b"a", b"b", b"a"))]
    outcomes = Trial(group.handlers[0], records, 1, Sharing(), lambda at: at != 0).outcomes()
    assert [type(outcome) for outcome in outcomes] == [NotBegun, Handled, NotBegun]
    assert begun == [1]


class Quarrelsome:
    """A payload that can be compared with nothing."""

    def __init__(self, payload: Payload) -> None:
        self.n = payload["n"]

    def __eq__(self, other: object) -> bool:
        raise TypeError("I am beyond comparison")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("batch", [None, Batch(size=10)])
def test_an_event_that_cannot_be_read_waits_for_those_of_its_key(
    topic: Topic[Payload], group: ConsumerGroup, batch: Batch | None
) -> None:
    """Of a queue only the first may have failed: tried together with another before it, it would fail twice."""

    def fail(given: object) -> None:
        raise ValueError("not today")

    declare(group, topic, fail, batch)
    records = [record(number)._replace(key=b"a") for number in range(3)]
    records[2] = records[2]._replace(value=b"{")
    outcomes = Trial(group.handlers[0], records, 1, Sharing(), lambda at: True).outcomes()
    assert [type(outcome) for outcome in outcomes] == [Failed, NotBegun, NotBegun]
    (alone,) = Trial(group.handlers[0], records[2:], 1, Sharing(), lambda at: True).outcomes()
    assert isinstance(alone, Failed)


def test_a_named_culprit_is_found_whatever_its_payload_says_of_equality(
    topic: Topic[Payload], group: ConsumerGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    read = read_event

    def quarrelsome(*arguments: Any) -> Any:
        event = read(*arguments)
        return structs.replace(event, payload=Quarrelsome(event.payload))

    monkeypatch.setattr(trying, "read_event", quarrelsome)

    @group.idempotent(topic, batch=Batch(size=8))
    def handle(events: list[Event[Any]]) -> None:
        calls.append(len(events))
        for event in events:
            if event.payload.n == 5:
                raise BatchItemError(event, ValueError("this one"))

    outcomes = tried(group, 8)
    assert calls == [8, 7]
    assert [at for at, outcome in enumerate(outcomes) if isinstance(outcome, Failed)] == [5]


def test_each_culprit_of_a_list_costs_two_calls_for_each_halving_at_most(
    topic: Topic[Payload], group: ConsumerGroup
) -> None:
    calls: list[list[int]] = []
    culprits: set[int] = set()

    @group.idempotent(topic, batch=Batch(size=1_000))
    def handle(events: Several) -> None:
        calls.append([event.payload["n"] for event in events])
        if not culprits.isdisjoint(calls[-1]):
            raise ValueError("one of these, or more")

    def of(count: int) -> st.SearchStrategy[tuple[int, set[int]]]:
        return st.tuples(st.just(count), st.sets(st.integers(0, count - 1), max_size=5))

    @settings(max_examples=150, deadline=None)
    @given(st.integers(1, 200).flatmap(of))
    @example((30, {13}))
    @example((33, {0, 16, 32}))
    def check(drawn: tuple[int, set[int]]) -> None:
        count, ill = drawn
        calls.clear()
        culprits.clear()
        culprits.update(ill)
        outcomes = tried(group, count)
        assert {at for at, outcome in enumerate(outcomes) if isinstance(outcome, Failed)} == ill
        took_effect = [number for call in calls if ill.isdisjoint(call) for number in call]
        assert took_effect == [number for number in range(count) if number not in ill], "once each, and in order"
        halvings = (count - 1).bit_length()  # the logarithm of the count, rounded up
        assert len(calls) - 1 <= 2 * halvings * len(ill)

    check()


@pytest.mark.parametrize("batch", [None, Batch(size=10)])
def test_a_payload_that_the_handler_has_changed_is_whole_at_the_next_call(
    topic: Topic[Payload], group: ConsumerGroup, batch: Batch | None
) -> None:
    def handle(given: Any) -> None:
        for event in given if isinstance(given, list) else [given]:
            event.payload["n"] += 10
            if event.payload["n"] == 13:
                raise ValueError("this one fails")
            enter(event)

    declare(group, topic, handle, batch)
    tried(group, 4)
    assert entered() == [10, 11, 12]


@pytest.mark.parametrize("batch", [None, Batch(size=10)])
def test_the_report_of_a_failure_holds_nothing_of_another_event(
    topic: Topic[Payload], group: ConsumerGroup, batch: Batch | None
) -> None:
    def handle(given: Any) -> None:
        event = given[0] if isinstance(given, list) else given
        raise ValueError(f"no luck with {event.payload['n']}")

    declare(group, topic, handle, batch)
    last = tried(group, 3)[-1]
    assert isinstance(last, Failed)
    assert "no luck with 2" in last.report.traceback
    assert "no luck with 0" not in last.report.traceback


def test_a_failure_after_the_deadlock_of_another_is_no_deadlock(topic: Topic[Payload], group: ConsumerGroup) -> None:
    calls: list[int] = []

    @group.exactly_once(topic)
    def handle(event: Single) -> None:
        calls.append(event.payload["n"])
        if len(calls) == 1:
            raise OperationalError("as if") from DeadlockDetected("as if")
        if event.payload["n"] == 1:
            raise ValueError("this one fails")

    tried(group, 2)
    assert calls == [0, 0, 1]


@pytest.mark.parametrize("delivery", ["idempotent", "exactly_once"])
def test_receivers_hear_of_each_event_that_was_handled_and_how_long_that_took(
    topic: Topic[Payload], group: ConsumerGroup, delivery: str
) -> None:
    heard: list[tuple[int, bool]] = []

    def handle(event: Single) -> None:
        if event.payload["n"] == 1:
            raise ValueError("this one fails")

    def hear(event: Single, seconds: float, **_: object) -> None:
        heard.append((event.payload["n"], seconds > 0))

    getattr(group, delivery)(topic)(handle)
    event_handled.connect(hear, sender=handle)
    try:
        tried(group, 3)
    finally:
        event_handled.disconnect(hear, sender=handle)
    assert heard == [(0, True), (2, True)]


@pytest.mark.parametrize("headers", [[], [("traceparent", b"so it goes the long way")]])
def test_an_idempotent_handler_is_called_again_at_once_after_a_deadlock(
    topic: Topic[Payload], group: ConsumerGroup, headers: list[tuple[str, bytes | None]]
) -> None:
    calls: list[int] = []

    @group.idempotent(topic)
    def handle(event: Single) -> None:
        calls.append(event.payload["n"])
        event.payload["n"] += 10
        if len(calls) < 3:
            raise OperationalError("as if") from DeadlockDetected("as if")
        if len(calls) == 4:
            raise ValueError("no conflict")

    records = [record(number)._replace(headers=record(number).headers + headers) for number in range(3)]
    outcomes = Trial(group.handlers[0], records, 1, Sharing(), lambda at: True).outcomes()
    assert [type(outcome) for outcome in outcomes] == [Handled, Failed, Handled]
    assert calls == [0, 0, 0, 1, 2], "and each time with the payload as it came"


@pytest.mark.parametrize("headers", [[], [("traceparent", b"so it goes the long way")]])
def test_an_event_is_tried_five_times_more_in_a_row_because_of_deadlocks(
    topic: Topic[Payload], group: ConsumerGroup, headers: list[tuple[str, bytes | None]]
) -> None:
    calls: list[int] = []

    @group.idempotent(topic)
    def handle(event: Single) -> None:
        calls.append(event.payload["n"])
        raise OperationalError("as if") from DeadlockDetected("as if")

    one = record(0)._replace(headers=record(0).headers + headers)
    (outcome,) = Trial(group.handlers[0], [one], 1, Sharing(), lambda at: True).outcomes()
    assert isinstance(outcome, Failed)
    assert calls == [0] * (1 + attempt.CONFLICTS)


@pytest.mark.parametrize("batch", [None, Batch(size=10)])
@pytest.mark.parametrize("delivery", ["exactly_once", "idempotent"])
def test_when_a_unit_is_over_nothing_of_it_waits_for_python_to_look_for_garbage(
    topic: Topic[Payload], group: ConsumerGroup, delivery: str, batch: Batch | None
) -> None:
    """Its events are hundreds of objects: to find out that nobody has them costs more than a short call."""

    def handle(given: Any) -> None: ...

    def is_gone(*numbers: int) -> bool:
        trial = Trial(group.handlers[0], [record(each) for each in numbers], 1, Sharing(), lambda at: True)
        assert {type(outcome) for outcome in trial.outcomes()} == {Handled}
        gone = weakref.ref(trial)
        del trial
        return gone() is None

    getattr(group, delivery)(topic, batch=batch)(handle)
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        assert is_gone(0, 1, 2, 3)
        assert is_gone(4)
    finally:
        if was_enabled:
            gc.enable()


def test_what_may_not_be_begun_is_not_read(
    topic: Topic[Payload], group: ConsumerGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A codec may be slow, and who gives a partition up waits for the unit."""
    group.exactly_once(topic)(enter)
    read: list[int] = []

    def reading(handler: Handler, one: ReceivedRecord, number: int) -> Single:
        read.append(one.offset)
        return read_event(handler, one, number)

    monkeypatch.setattr(trying, "read_event", reading)
    outcomes = tried(group, 5, may_begin=lambda at: at == 3)
    assert [type(outcome) for outcome in outcomes] == [NotBegun, NotBegun, NotBegun, Handled, NotBegun]
    assert set(read) == {3}


@pytest.mark.parametrize("delivery", ["exactly_once", "idempotent"])
def test_a_culprit_that_is_named_while_the_database_is_away_is_postponed(
    topic: Topic[Payload], group: ConsumerGroup, delivery: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "works", lambda using: False)

    def handle(events: Several) -> None:
        raise BatchItemError(events[0], OperationalError("the server closed the connection"))

    getattr(group, delivery)(topic, batch=Batch(size=10))(handle)
    assert {type(outcome) for outcome in tried(group, 4)} <= {Postponed, NotBegun}


def test_while_the_database_is_away_a_key_waits_and_no_list_is_halved(
    topic: Topic[Payload], group: ConsumerGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "works", lambda using: False)
    calls: list[int] = []

    def handle(given: Any) -> None:
        calls.append(len(given) if isinstance(given, list) else given.payload["n"])
        raise OperationalError("the server closed the connection")

    group.idempotent(topic)(handle)
    group.idempotent(topic, batch=Batch(size=8), name="listed")(handle)
    records = [record(number)._replace(key=key) for number, key in enumerate((b"a", b"b", b"a"))]
    single, listed = [Trial(each, records, 1, Sharing(), lambda at: True).outcomes() for each in group.handlers]
    assert [type(outcome) for outcome in single] == [Postponed, Postponed, NotBegun]
    assert [type(outcome) for outcome in listed] == [Postponed] * 3
    assert calls == [0, 1, 3]


def test_a_transaction_that_a_failed_list_leaves_open_takes_nothing_from_its_halves(
    topic: Topic[Payload], group: ConsumerGroup
) -> None:
    calls: list[int] = []

    @group.idempotent(topic, batch=Batch(size=4))
    def handle(events: Several) -> None:
        calls.append(len(events))
        if len(calls) == 1:
            transaction.atomic().__enter__()  # and never ends it
            raise ValueError("not all of them at once")
        for event in events:
            enter(event)

    assert {type(outcome) for outcome in tried(group, 4)} == {Handled}
    connection.close()  # what a transaction that is still open has done is gone
    assert entered() == [0, 1, 2, 3]


def test_a_batch_is_not_halved_further_once_its_partition_is_given_up(
    topic: Topic[Payload], group: ConsumerGroup
) -> None:
    calls: list[int] = []

    @group.idempotent(topic, batch=Batch(size=16))
    def handle(events: Several) -> None:
        calls.append(len(events))
        raise ValueError("all of them")

    assert {type(outcome) for outcome in tried(group, 16, may_begin=lambda at: not calls)} == {NotBegun}
    assert calls == [16]


def test_a_batch_may_have_any_number_of_named_culprits(topic: Topic[Payload], group: ConsumerGroup) -> None:
    @group.idempotent(topic, batch=Batch(size=1_000), on_failure=OnFailure.DISCARD)
    def handle(events: Several) -> None:
        for event in events:
            if event.payload["n"] < 600:
                raise BatchItemError(event, IgnoreError())

    outcomes = tried(group, 700)
    assert all(isinstance(outcome, Failed) and isinstance(outcome.error, IgnoreError) for outcome in outcomes[:600])
    assert {type(outcome) for outcome in outcomes[600:]} == {Handled}


@pytest.fixture
def other() -> Iterator[psycopg.Connection]:
    """A second transaction."""
    database = connection.settings_dict
    names = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "NAME"}
    with psycopg.connect(**{name: database[key] for name, key in names.items()}) as other:
        yield other
        other.rollback()


def insert_mark(other: psycopg.Connection, handler: Handler, number: int) -> None:
    mark = mark_of(read_event(handler, record(number), 1))
    columns = '"key", topic, source, event_id, group_name, handler'
    other.execute(
        f"INSERT INTO {ProcessedEvent._meta.db_table} ({columns}) VALUES (%s, %s, %s, %s, %s, %s)",
        [uuid.UUID(bytes=mark.key), *mark[1:]],
    )


def test_of_a_batch_only_the_events_that_another_transaction_has_wait(
    topic: Topic[Payload], group: ConsumerGroup, other: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trying, "PATIENCE", 0.05)

    @group.exactly_once(topic, batch=Batch(size=20))
    def handle(events: Several) -> None:
        for event in events:
            enter(event)

    for number in (3, 11):
        insert_mark(other, group.handlers[0], number)
    outcomes = tried(group, 20)
    assert [at for at, outcome in enumerate(outcomes) if not isinstance(outcome, Handled)] == [3, 11]
    assert isinstance(outcomes[3], Postponed)
    assert isinstance(outcomes[11], Postponed)
    assert entered() == [number for number in range(20) if number not in (3, 11)]


def noted_waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each insert of marks is prepared to wait: 0.05 s, or 0.01 s once that was in vain."""
    monkeypatch.setattr(trying, "PATIENCE", 0.05)
    monkeypatch.setattr(trying, "IMPATIENCE", 0.01)
    waits: list[float] = []
    mark_processed = ProcessedEvent.objects.mark_processed

    def noted(*arguments: Any, **options: Any) -> Any:
        waits.append(options["patience"])
        return mark_processed(*arguments, **options)

    monkeypatch.setattr(ProcessedEvent.objects, "mark_processed", noted)
    return waits


def test_of_single_events_that_another_transaction_has_the_first_is_waited_for(
    topic: Topic[Payload], group: ConsumerGroup, other: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = noted_waits(monkeypatch)
    group.exactly_once(topic, shared_transaction=False)(enter)
    for number in (1, 2):
        insert_mark(other, group.handlers[0], number)
    assert [type(outcome) for outcome in tried(group, 4)] == [Handled, Postponed, Postponed, Handled]
    assert waits == [0.05, 0.05, 0.01, 0.01]


@pytest.mark.parametrize("batch", [None, Batch(size=20)])
def test_events_that_another_transaction_has_are_waited_for_once(
    topic: Topic[Payload],
    group: ConsumerGroup,
    other: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    batch: Batch | None,
) -> None:
    waits = noted_waits(monkeypatch)

    def handle(given: Any) -> None:
        for event in given if isinstance(given, list) else [given]:
            enter(event)

    declare(group, topic, handle, batch)
    insert_mark(other, group.handlers[0], 3)
    assert [at for at, outcome in enumerate(tried(group, 5)) if isinstance(outcome, Postponed)] == [3]
    assert waits[0] == 0.05
    assert {*waits[1:]} == {0.01}

    queues, pool, progress = Queues(), Pool(), Progress(PLACE)
    works = [Work(group.handlers[0], record(n), progress, progress.started(n, 1)) for n in (3, 5)]
    works[0].postponed(1.0, 0.0)
    for work in works:
        queues.add(work, 0.0)
    pool.count = 1
    HandingOut(group.handlers, queues, pool, None).hand_out(0.0)  # type: ignore[arg-type]
    again = pool.submitted[0]
    assert len(again.records) == 2
    waits.clear()
    Workers._try(Workers(0, "none"), again)
    assert {*waits} == {0.01}
    assert entered() == [0, 1, 2, 4, 5]


def test_a_batch_of_which_another_transaction_has_all_is_not_halved_without_end(
    topic: Topic[Payload], group: ConsumerGroup, other: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trying, "PATIENCE", 0.01)
    monkeypatch.setattr(trying, "IMPATIENCE", 0.01)
    monkeypatch.setattr(trying, "MOST_WAITS", 10)
    waits: list[float] = []
    mark_processed = ProcessedEvent.objects.mark_processed

    def noted(*arguments: Any, **options: Any) -> Any:
        waits.append(options["patience"])
        return mark_processed(*arguments, **options)

    monkeypatch.setattr(ProcessedEvent.objects, "mark_processed", noted)

    @group.exactly_once(topic, batch=Batch(size=64))
    def handle(events: Several) -> None: ...

    for number in range(64):
        insert_mark(other, group.handlers[0], number)
    assert {type(outcome) for outcome in tried(group, 64)} == {Postponed}
    assert len(waits) <= 10 + 7


def test_a_transaction_that_one_event_leaves_open_takes_nothing_from_the_others(
    topic: Topic[Payload], group: ConsumerGroup
) -> None:
    @group.idempotent(topic)
    def handle(event: Single) -> None:
        if event.payload["n"] == 0:
            transaction.atomic().__enter__()  # and never ends it
        enter(event)

    assert {type(outcome) for outcome in tried(group, 5)} == {Handled}
    assert entered() == [1, 2, 3, 4]


def test_so_does_one_in_a_connection_that_its_handler_has_made(topic: Topic[Payload], group: ConsumerGroup) -> None:
    """A worker asks for its connections before the first call of a unit, and again when there is another one."""

    @group.idempotent(topic)
    def handle(event: Single) -> None:
        if event.payload["n"] == 0:
            transaction.atomic().__enter__()  # connects, and never ends it
        enter(event)

    workers: Workers[str] = Workers(1, "units")
    workers.submit(Unit("all", group.handlers[0], [record(number) for number in range(5)], 1))
    result = workers.results.get(timeout=60)
    workers.stop(30)
    assert {type(outcome) for outcome in result.outcomes} == {Handled}
    assert entered() == [1, 2, 3, 4]


def test_a_connection_that_cannot_be_closed_is_replaced_and_fails_no_event(
    topic: Topic[Payload], group: ConsumerGroup
) -> None:
    """Else all events of the unit would fail, with those that are handled already."""
    broken: list[int] = []

    def fail() -> None:
        raise InterfaceError("the connection is closed already")

    @group.idempotent(topic)
    def handle(event: Single) -> None:
        enter(event)
        if not broken:
            broken.append(event.payload["n"])
            connection.errors_occurred = True
            connection.close_if_unusable_or_obsolete = fail  # type: ignore[method-assign]

    workers: Workers[str] = Workers(1, "units")
    workers.submit(Unit("all", group.handlers[0], [record(number) for number in range(3)], 1))
    result = workers.results.get(timeout=60)
    workers.stop(30)
    assert {type(outcome) for outcome in result.outcomes} == {Handled}
    assert broken == [0]
    assert entered() == [0, 1, 2]


class ConnectionPool:
    """Notes of each connection that comes back whether it is closed."""

    def __init__(self) -> None:
        self.back: list[bool] = []

    def putconn(self, driver: psycopg.Connection) -> None:
        self.back.append(driver.closed)


def test_a_connection_that_is_dropped_goes_back_to_its_pool(topic: Topic[Payload], group: ConsumerGroup) -> None:
    """Psycopg's pool counts one that does not as lent, until nobody gets one any more."""
    pool = ConnectionPool()

    @group.idempotent(topic)
    def handle(event: Single) -> None:
        connection.ensure_connection()
        connection.connection._pool = pool
        transaction.atomic().__enter__()  # and never ends it

    workers: Workers[str] = Workers(1, "units")
    workers.submit(Unit("only", group.handlers[0], [record(0)], 1))
    workers.results.get(timeout=60)
    workers.stop(30)
    assert pool.back == [True]


def test_an_offset_that_moves_is_not_reported_as_held_back(
    group: ConsumerGroup, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress, reports = Progress(PLACE), slowness.Slowness()
    in_hand = [progress.started(number, 1) for number in range(200)]
    for each in in_hand[:-1]:  # one a second
        now[0] += 1
        progress.finished(each)
        reports.look_at_offsets([progress], Queues())
    assert "has stayed" not in caplog.text
