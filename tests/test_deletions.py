"""Kafka deletes events whoever has yet to read them: a group that is too late says so."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from django_events import ConsumerGroup, Event, metrics
from django_events.consuming.deletions import REMEMBERED, Deletions
from django_events.consuming.offsets import Progress
from django_events.consuming.service import Service
from django_events.kafka import topics
from django_events.kafka.record import Partition
from tests import metering
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_made
from tests.waiting import wait_for

Consuming = Callable[..., AbstractContextManager[Service]]

pytestmark = pytest.mark.usefixtures("declarations")

TOPIC = "ledger.entry-made"
PLACE = Partition(TOPIC, 0)


@pytest.fixture
def group() -> ConsumerGroup:
    return ConsumerGroup("late")


def jumped(*offsets: int, begins_at: int | None = None) -> Progress:
    progress = Progress(PLACE, begins_at=begins_at)
    for offset in offsets:
        progress.started(offset, handlers=1)
    return progress


@pytest.mark.parametrize(
    ("begins_at", "offsets", "jump"),
    [
        (None, [7, 8], None),  # nobody knows what was before
        (7, [7, 8], None),
        (3, [7, 8], (3, 7)),
        (0, [0, 2, 6, 9], (3, 6)),
    ],
)
def test_what_is_left_out_between_two_looks(
    begins_at: int | None, offsets: list[int], jump: tuple[int, int] | None
) -> None:
    progress = jumped(*offsets, begins_at=begins_at)
    assert progress.take_widest_jump() == jump
    assert progress.take_widest_jump() is None


def test_a_jump_is_told_and_counted_once_it_is_known_that_the_partition_begins_behind_it(
    group: ConsumerGroup, caplog: pytest.LogCaptureFixture
) -> None:
    group.idempotent(entry_made)(print)
    deletions, partitions = Deletions(group), {PLACE: jumped(15, begins_at=10)}
    before = metering.known_value(metrics.MISSED, "late", TOPIC)
    assert before is not None, "a series that begins with its first count shows Prometheus no increase"
    deletions.look(partitions, lambda _: -1)
    assert not caplog.text
    deletions.look(partitions, lambda _: 13)
    deletions.look(partitions, lambda _: 14)
    assert caplog.text.count("has missed") == 1
    assert f"Group late has missed up to 3 events of {PLACE}, offsets 10 to 12:" in caplog.text
    assert metering.value(metrics.MISSED, "late", TOPIC) == before + 3


def test_what_was_read_is_not_missed_although_it_is_deleted_by_now(
    group: ConsumerGroup, caplog: pytest.LogCaptureFixture
) -> None:
    Deletions(group).look({PLACE: jumped(15, begins_at=10)}, lambda _: 20)
    assert "up to 5 events" in caplog.text


def test_a_jump_of_another_kind_is_forgotten_before_its_place_is_deleted(
    group: ConsumerGroup, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at the end of a transaction: the offset is left out, and was never an event."""
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    deletions = Deletions(group)
    deletions.look({PLACE: jumped(15, begins_at=14)}, lambda _: 14)
    deletions.look({PLACE: jumped(25, begins_at=24)}, lambda _: -1)
    now += REMEMBERED
    deletions.look({}, lambda _: -1)
    deletions.look({}, lambda _: 30)
    assert not caplog.text


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_group_that_is_too_late_says_what_it_has_missed(
    broker: Broker,
    group: ConsumerGroup,
    consuming: Consuming,
    transactional_db: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    handled: list[int] = []

    @group.idempotent(entry_made)
    def note(event: Event[EntryMade]) -> None:
        handled.append(event.payload.number)

    def put(numbers: range) -> None:
        broker.put_many(TOPIC, [b'{"account":"a","number":%d}' % n for n in numbers], b"a", 0)

    topics.create_missing([TOPIC], timeout=60)
    put(range(3))
    with consuming(group):
        wait_for(lambda: len(handled) == 3)
    put(range(3, 8))
    broker.delete_records(TOPIC, partition=0, before=6)
    with consuming(group):
        wait_for(lambda: len(handled) == 5)
    assert handled == [0, 1, 2, 6, 7]
    assert f"has missed up to 3 events of {PLACE}, offsets 3 to 5:" in caplog.text, "at the stop, at the latest"
