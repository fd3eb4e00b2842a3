"""The queues and the progress of a group, without Kafka: nothing is lost, doubled or out of order, whatever happens."""

import random
from dataclasses import replace
from typing import Any

import pytest

from django_events import Batch, ConsumerGroup, Topic
from django_events.calling import Calling
from django_events.consuming.announcing import say_what_follows
from django_events.consuming.offsets import Progress
from django_events.consuming.outcome import failed
from django_events.consuming.policy import decide
from django_events.consuming.queues import Queues
from django_events.consuming.work import Work
from django_events.handlers import Delivery, Handler
from django_events.kafka.record import Partition, ReceivedRecord
from django_events.producing.batch import BatchSize
from django_events.retry import Backoff

pytestmark = pytest.mark.usefixtures("declarations")

PLACE = Partition("queues", 0)


def handler() -> Handler:
    topic = Topic("queues", dict[str, Any])
    ConsumerGroup("queues")
    return Handler(name="h", group="queues", function=print, topics=(topic,), delivery=Delivery.IDEMPOTENT)


def record(partition: Partition, offset: int, key: bytes | None) -> ReceivedRecord:
    return ReceivedRecord(partition, offset, key, b"{}", [], None)


@pytest.mark.parametrize("seed", range(30))
def test_a_random_life_of_the_queues(seed: int) -> None:
    """Works come, run, fail, wait, succeed; partitions are lost and come again in the middle of it."""
    chance = random.Random(seed)
    queues, the_handler, now = Queues(), handler(), 0.0
    partitions = [Partition("queues", number) for number in (0, 1)]
    progress = {partition: Progress(partition) for partition in partitions}
    offsets = dict.fromkeys(partitions, 0)
    running: list[list[Work]] = []
    in_order: dict[tuple[Progress, bytes | None], list[int]] = {}

    def came_back(unit: list[Work], settled: int, due: float | None) -> None:
        """The first of the unit's works are done with, the rest is left; as the group's thread does it."""
        finished, rest = unit[:settled], unit[settled:]
        for work in finished:
            if not work.progress.ended:
                work.progress.finished(work.in_hand)
                in_order.setdefault((work.progress, work.record.key), []).append(work.record.offset)
        for queue in {id(work.queue): work.queue for work in unit}.values():
            left = [work for work in rest if work.queue is queue and not work.progress.ended]
            queues.give_back(queue, left, due if left else None)

    for _ in range(600):
        step = chance.random()
        partition = chance.choice(partitions)
        if step < 0.45:
            key = chance.choice([b"a", b"b", None])
            got = record(partition, offsets[partition], key)
            offsets[partition] += 1
            work = Work(the_handler, got, progress[partition], progress[partition].started(got.offset, 1))
            queues.add(work, now)
        elif step < 0.7 and (unit := queues.take("h", chance.choice([1, 2, 5]))):
            out = {id(work.queue) for each in running for work in each}
            assert not any(id(work.queue) in out for work in unit), "two of one queue at once"
            assert not any(work.progress.ended for work in unit)
            assert len(unit) == 1 or not any(work.runs_alone for work in unit)
            running.append(unit)
        elif step < 0.95 and running:
            unit = running.pop(chance.randrange(len(running)))
            settled = chance.randint(0, len(unit))
            has_failed = settled < len(unit) and chance.random() < 0.6
            if has_failed:
                unit[settled].failed(now)
            came_back(unit, settled, now + chance.random() * 10 if has_failed else None)
        elif step >= 0.98:
            progress.pop(partition).ended = True
            queues.drop_ended()
            progress[partition] = Progress(partition)
            offsets[partition] = progress[partition].next_offset or 0
        now += 0.5
        queues.wake(now)
        assert queues.waiting()["h"] == len(queues.all_works()) - sum(map(len, running))
        check(queues, progress)

    for unit in running:
        came_back(unit, len(unit), None)
    queues.wake(float("inf"))
    while unit := queues.take("h", 3):
        came_back(unit, len(unit), None)
    assert queues.active == 0
    assert queues.line("h").works == 0
    assert not queues.all_works()
    assert all(each.in_hand == 0 for each in progress.values())
    for (_, key), handled in in_order.items():
        assert key is None or handled == sorted(handled), "a key's events out of order"


def test_what_a_full_list_leaves_has_not_waited_for_as_long_as_the_list() -> None:
    queues, progress, the_handler = Queues(), Progress(PLACE), handler()
    batch = Batch(size=3, wait=10.0)
    for moment in (0.0, 8.0, 9.0, 9.5):
        got = record(PLACE, int(moment * 2), None)
        queues.add(Work(the_handler, got, progress, progress.started(got.offset, 1)), moment)
    assert len(queues.take("h", batch.size)) == 3
    line = queues.line("h")
    assert not line.is_full_or_old(batch, 19.0)
    assert line.is_full_or_old(batch, 19.5)


def test_what_has_failed_is_next_when_its_time_has_come_and_waits_for_no_full_list() -> None:
    queues, progress, the_handler = Queues(), Progress(PLACE), handler()
    batch = Batch(size=3, wait=10.0)
    for offset, key in enumerate((b"ill", b"other")):
        queues.add(Work(the_handler, record(PLACE, offset, key), progress, progress.started(offset, 1)), 0.0)
    (ill,) = queues.take("h", 1)
    ill.failed(now=0.0)
    queues.give_back(ill.queue, [ill], 5.0)
    assert not queues.line("h").is_full_or_old(batch, 5.0)
    queues.wake(5.0)
    assert queues.line("h").is_full_or_old(batch, 5.0)
    assert queues.take("h", 3) == [ill]


def test_events_of_one_key_are_handled_at_once_where_order_is_not_wanted() -> None:
    queues, progress = Queues(), Progress(PLACE)
    unordered = replace(handler(), calling=Calling(ordered=False))
    for offset in range(2):
        queues.add(Work(unordered, record(PLACE, offset, b"k"), progress, progress.started(offset, 1)), 0.0)
    assert [len(queues.take("h", 1)), len(queues.take("h", 1))] == [1, 1]


def check(queues: Queues, progress: dict[Partition, Progress]) -> None:
    everything = queues._queues.values()
    assert queues.active == sum(len(queue.works) for queue in everything if queue.due is None)
    line = queues.line("h")
    assert line.works == sum(len(queue.works) for queue in line.queues)
    assert set(line.queues) == {queue for queue in everything if queue.due is None and not queue.lent}
    for each in progress.values():
        assert each.next_offset is None or not each._in_hand or each.next_offset <= each._in_hand[0].offset


def test_the_offset_passes_only_what_all_handlers_are_done_with() -> None:
    progress = Progress(Partition("queues", 0))
    first, second = progress.started(5, 2), progress.started(9, 1)  # offsets have holes
    assert progress.committable() is None
    progress.finished(second)
    progress.finished(first)
    assert progress.committable() is None
    progress.finished(first)
    assert progress.committable() == 10
    progress.committed(10)
    assert progress.committable() is None
    progress.committed(None)
    assert progress.committable() == 10


def test_a_batch_grows_while_reads_are_slow_and_shrinks_again() -> None:
    batch = BatchSize(1_000)
    for _ in range(10):
        batch.read_took(0.060)
    assert batch.rows == 2_000  # 60 ms are not slow for so many
    for _ in range(10):
        batch.read_took(1.0)
    assert batch.rows == 16_000
    for _ in range(10):
        batch.read_took(0.001)
    assert batch.rows == 1_000


def test_a_single_slow_read_makes_no_batch_larger() -> None:
    batch = BatchSize(1_000)
    for _ in range(10):
        batch.read_took(1.0)
        batch.read_took(0.020)
    assert batch.rows == 1_000


def test_waits_grow_up_to_their_bound() -> None:
    backoff = Backoff(first=1, max=30, factor=2, jitter=0)
    assert [backoff.delay(tries) for tries in (1, 2, 3, 6, 1_000)] == [1, 2, 4, 30, 30]
    jittered = [Backoff(first=1, jitter=0.05).delay(1) for _ in range(100)]
    assert all(0.95 <= wait <= 1.05 for wait in jittered)
    assert len(set(jittered)) > 1


def work(value: bytes = b"{}") -> Work:
    progress = Progress(Partition("queues", 0))
    return Work(handler(), record(progress.partition, 0, b"k")._replace(value=value), progress, progress.started(0, 1))


def test_waits_of_tries_that_could_not_take_place_are_no_time_of_failing() -> None:
    ill = work()
    ill.failed(now=100.0)
    ill.handed_out(now=101.0)
    ill.postponed(delay=10.0, now=104.0)
    ill.handed_out(now=114.0)
    ill.postponed(delay=20.0, now=115.0)
    tries = ill.tries(now=136.0)
    assert (tries.attempts, tries.delays, tries.seconds) == (1, 2, 2.0)
    ill.failed(now=136.0)
    assert ill.tries(now=137.0).delays == 0


def test_what_is_hidden_is_not_in_the_log_of_a_failure(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.DJANGO_EVENTS = settings.DJANGO_EVENTS | {"REDACT": ["card"]}
    ill = work(b'{"card":"4111-1111"}')
    try:
        raise ValueError(f"no {ill.record.value!r}")
    except ValueError as error:
        outcome = failed(error, ill.record)
    say_what_follows(ill, outcome, decide(outcome, ill.handler.policy, ill.tries(0.0)))
    assert "its key waits" in caplog.text and "in test_what_is_hidden" in caplog.text
    assert "4111" not in caplog.text
