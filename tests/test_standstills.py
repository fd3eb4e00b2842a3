"""A process that stood still: nothing is begun or committed before Kafka has said what is still ours."""

from typing import Any

import pytest

from django_events import ConsumerGroup, Event, Topic
from django_events.consuming import group as group_module
from django_events.consuming.group import GroupThread
from django_events.consuming.handing_out import HandingOut
from django_events.consuming.limits import Limits
from django_events.consuming.offsets import Progress
from django_events.consuming.pulse import LONGEST_SILENCE, Pulse
from django_events.consuming.sharing import Sharing
from django_events.kafka.record import Partition, ReceivedRecord

pytestmark = pytest.mark.usefixtures("declarations")

OURS = Partition("orders", 0)


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("django_events.consuming.pulse.time", clock)
    return clock


def test_workers_begin_nothing_after_a_standstill_until_the_group_knows_what_is_ours(clock: Clock) -> None:
    pulse = Pulse()
    progress = Progress(OURS, pulse)
    answers = []
    steps = ((LONGEST_SILENCE / 2, pulse.beat), (LONGEST_SILENCE * 2, pulse.beat), (0, pulse.restart))
    for seconds, what_follows in steps:
        clock.now += seconds
        what_follows()
        answers.append(progress.may_begin)
    assert answers == [True, False, True]


class ConsumerThatHasLost:
    """Says that the partition is another's as soon as it is polled."""

    member_id = "this process"

    def __init__(self, thread: GroupThread) -> None:
        self._thread = thread
        self.committed: list[Any] = []

    def poll(self, timeout: float) -> None:
        self._thread.lost([OURS])

    def take_uncommitted(self) -> set[Partition]:
        return set()

    def commit(self, offsets: Any, *, wait: bool) -> None:
        self.committed.append(offsets)

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class Workers:
    """Count what they get."""

    count = 8
    error = None
    is_stuck = False
    calls = ()

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.submit = self.got.append

    def take_back(self) -> None: ...

    def sharing(self, handler: str) -> Sharing:
        return Sharing()


@pytest.mark.parametrize("way", ["_turn", "_let_finish"])
def test_a_group_that_stood_still_listens_before_it_begins_or_commits(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(group_module, "HEARING", 0.2)
    group = ConsumerGroup("still")

    @group.idempotent(Topic("orders", dict[str, Any]))
    def handle(event: Event[dict[str, Any]]) -> None: ...

    thread = GroupThread(group, Limits(), lambda _: None)
    workers: Any = Workers()
    consumer: Any = ConsumerThatHasLost(thread)
    thread._consumer, thread._workers, thread._letter_writer = consumer, workers, workers
    thread._handing_out = HandingOut(group.handlers, thread._queues, workers, workers)
    monkeypatch.setattr(thread, "_collect", lambda block: 0)
    thread.assigned([OURS])
    for offset in (1, 2):
        thread._take_on(ReceivedRecord(OURS, offset, b"a", b"{}", [], None))
    progress = thread._progress[OURS]
    progress.finished(progress._in_hand[0])
    clock.now += LONGEST_SILENCE + 1
    getattr(thread, way)()
    assert progress.ended
    assert not workers.got
    assert not consumer.committed
