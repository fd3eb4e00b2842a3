"""The options of handlers and groups: how many at once, in which order, of whose dead letters, inside of what."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from typing import Any

import pytest
from django.core.checks import CheckMessage

from django_events import Backoff, Batch, ConsumerGroup, DeclarationError, Event, OnFailure, Topic
from django_events.checks import check_declarations, check_handlers
from django_events.consuming import slowness
from django_events.consuming.limits import Limits
from django_events.consuming.service import Service
from django_events.kafka import topics
from django_events.models import DeadLetter
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_made
from tests.ledger.models import Entry
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("declarations")

Consuming = Callable[..., AbstractContextManager[Service]]

TOPIC = "ledger.entry-made"


def put(broker: Broker, count: int, key: bytes | None = None) -> None:
    topics.create_missing([TOPIC], timeout=60)
    broker.put_many(TOPIC, [b'{"account":"a","number":%d}' % number for number in range(count)], key, 0)


def done(broker: Broker, group: str, count: int) -> None:
    wait_for(lambda: broker.committed(group, TOPIC, 0) == count)


class Crowd:
    """Counts who is inside at once."""

    def __init__(self) -> None:
        self.most = 0
        self._inside = 0
        self._lock = threading.Lock()

    @contextmanager
    def entered(self) -> Iterator[None]:
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
        yield
        with self._lock:
            self._inside -= 1

    @property
    def inside(self) -> int:
        return self._inside


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_handler_has_no_more_workers_than_its_concurrency_and_others_go_on(
    broker: Broker, consuming: Consuming
) -> None:
    group = ConsumerGroup("crowded", workers=6)
    crowd, may_end, others = Crowd(), threading.Event(), []

    @group.idempotent(entry_made, concurrency=2)
    def slow(event: Event[EntryMade]) -> None:
        with crowd.entered():
            may_end.wait(60)

    @group.idempotent(entry_made)
    def quick(event: Event[EntryMade]) -> None:
        others.append(event.offset)

    put(broker, 40)
    with consuming(group):
        wait_for(lambda: crowd.inside == 2 and len(others) >= 40)
        may_end.set()
        done(broker, "crowded", 40)
    assert crowd.most == 2


@pytest.mark.kafka
@pytest.mark.postgres
def test_without_order_the_events_of_a_key_run_at_the_same_time(broker: Broker, consuming: Consuming) -> None:
    group = ConsumerGroup("unordered", workers=3)
    meeting = threading.Barrier(3)

    @group.idempotent(entry_made, ordered=False)
    def meet(event: Event[EntryMade]) -> None:
        meeting.wait(60)

    put(broker, 3, key=b"k")
    with consuming(group):
        done(broker, "unordered", 3)


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_group_has_as_many_workers_as_it_says(broker: Broker, consuming: Consuming) -> None:
    group = ConsumerGroup("dozen", workers=12)
    meeting = threading.Barrier(12)

    @group.idempotent(entry_made)
    def meet(event: Event[EntryMade]) -> None:
        meeting.wait(60)

    put(broker, 12)
    with consuming(group):
        done(broker, "dozen", 12)


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_handler_of_dead_letters_gets_those_of_the_other_group(broker: Broker, consuming: Consuming) -> None:
    patients, doctors = ConsumerGroup("patients"), ConsumerGroup("doctors")
    seen: list[tuple[str, str | None, int, str | None]] = []

    @patients.exactly_once(entry_made, on_failure=OnFailure.SAVE, retry=False)
    def fail(event: Event[EntryMade]) -> None:
        if event.payload.number == 1:
            raise ValueError("number 1 is ill")

    @doctors.exactly_once(entry_made, dead_letters_of=patients)
    def look(event: Event[EntryMade]) -> None:
        seen.append((event.topic, event.base_topic, event.payload.number, event.header("dead-letter-message")))
        Entry.objects.create(handler="doctors", account="a", number=event.payload.number, process=0)

    put(broker, 3)
    with consuming(doctors), consuming(patients):
        wait_for(lambda: Entry.objects.filter(handler="doctors").exists())
        wait_for(DeadLetter.objects.exists)
    assert seen == [("ledger.entry-made.patients.dead-letter", "ledger.entry-made", 1, "number 1 is ill")]
    assert doctors.sources == ("ledger.entry-made.patients.dead-letter",)
    assert not doctors.dead_letter_sources


@pytest.mark.parametrize("on_failure", [OnFailure.RETRY_LATER, OnFailure.SAVE])
def test_dead_letters_have_no_dead_letters(on_failure: OnFailure) -> None:
    group = ConsumerGroup("doctors")
    with pytest.raises(DeclarationError, match="^Handler doctors/look: .*cannot make another dead letter"):
        group.idempotent(entry_made, name="look", dead_letters_of="patients", on_failure=on_failure)(print)


# ── around handlers ──────────────────────────────────────────────────────────────────────────────────────────────

surroundings: list[Any] = []


@contextmanager
def noted(events: Sequence[Event[Any]]) -> Iterator[None]:
    assert isinstance(events, list)
    surroundings.append(("in", len(events)))
    try:
        yield
    except Exception as error:
        surroundings.append(type(error).__name__)
        raise
    finally:
        surroundings.append("out")


@contextmanager
def swallowing(events: Sequence[Event[Any]]) -> Iterator[None]:
    with suppress(Exception):
        yield


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.parametrize("delivery", ["exactly_once", "idempotent"])
def test_each_call_is_inside_of_the_sites_context_managers(
    broker: Broker, consuming: Consuming, settings: Any, delivery: str
) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "AROUND_HANDLERS": [f"{__name__}.noted"]}
    surroundings.clear()
    group = ConsumerGroup("surrounded")

    def handle(event: Event[EntryMade]) -> None:
        surroundings.append(event.payload.number)
        if event.attempt == 1:
            raise ValueError("once more")

    getattr(group, delivery)(entry_made, retry=Backoff(first=0.05, jitter=0.0))(handle)

    put(broker, 1)
    with consuming(group):
        done(broker, "surrounded", 1)
    assert surroundings == [("in", 1), 0, "ValueError", "out", ("in", 1), 0, "out"]


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_batch_is_one_call(broker: Broker, consuming: Consuming, settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "AROUND_HANDLERS": [f"{__name__}.noted"]}
    surroundings.clear()
    group = ConsumerGroup("surrounded")

    @group.exactly_once(entry_made, batch=Batch(size=3, wait=60))
    def handle(events: list[Event[EntryMade]]) -> None: ...

    put(broker, 3)
    with consuming(group):
        done(broker, "surrounded", 3)
    assert surroundings == [("in", 3), "out"]


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_context_manager_cannot_make_a_failure_a_success(broker: Broker, consuming: Consuming, settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "AROUND_HANDLERS": [f"{__name__}.swallowing"]}
    group = ConsumerGroup("surrounded")

    @group.exactly_once(entry_made, on_failure=OnFailure.SAVE, retry=False)
    def handle(event: Event[EntryMade]) -> None:
        Entry.objects.create(handler="h", account="a", number=1, process=0)
        raise ValueError("it failed")

    put(broker, 1)
    with consuming(group):
        wait_for(DeadLetter.objects.exists)
    assert not Entry.objects.exists()


# ── what takes long ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_handler_that_takes_long_is_reported_and_again_when_it_returns(
    broker: Broker, consuming: Consuming, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "django_events.group")
    monkeypatch.setattr(slowness, "LONG", 0.2)
    group = ConsumerGroup("sluggish")
    may_end = threading.Event()

    @group.idempotent(entry_made)
    def wait(event: Event[EntryMade]) -> None:
        may_end.wait(60)

    put(broker, 1)
    with consuming(group, limits=Limits(commit_interval=0.1)):
        wait_for(lambda: "has been running" in caplog.text)
        may_end.set()
        wait_for(lambda: "is not stuck any more" in caplog.text)
    assert caplog.text.count("has been running") == 1


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_key_that_holds_the_offset_back_is_reported_with_what_is_known_of_it(
    broker: Broker, consuming: Consuming, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "django_events.group")
    monkeypatch.setattr(slowness, "LONG", 0.2)
    group = ConsumerGroup("held")
    may_pass = threading.Event()

    @group.idempotent(entry_made, on_failure=OnFailure.BLOCK, retry=Backoff(first=0.2, max=0.2))
    def refuse_the_first(event: Event[EntryMade]) -> None:
        if event.payload.number == 0 and not may_pass.is_set():
            raise ValueError("not the first")

    put(broker, 10)
    with consuming(group, limits=Limits(commit_interval=0.1)):
        wait_for(lambda: "The offset of ledger.entry-made[0] has stayed at 0" in caplog.text)
        may_pass.set()
        wait_for(lambda: "The offset of ledger.entry-made[0] goes on" in caplog.text)
    (said,) = [record.getMessage() for record in caplog.records if "has stayed at 0" in record.getMessage()]
    assert "with 9 later records in hand" in said
    assert "handler held/refuse_the_first is not done with " in said


# ── what cannot be ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch": 30}, "batch is 30. Use Batch"),
        ({"concurrency": 0}, "concurrency is 0. Use a whole number from 1"),
        ({"concurrency": True}, "concurrency is True"),
        ({"ordered": None}, "ordered is None. Use True or False"),
        ({"shared_transaction": 1}, "shared_transaction is 1. Use True or False"),
        ({"using": ""}, "using is ''. Use an alias"),
        ({"dead_letters_of": 1}, "dead_letters_of is 1. Use a ConsumerGroup or its name"),
        ({"on_failure": "block"}, "on_failure is 'block'. Use OnFailure.DISCARD"),
        ({"retry": 0}, "retry is 0. Use a Backoff"),
        ({"timeout": 0}, "timeout is 0. Use a number of seconds"),
        ({"never_retry": "all"}, "never_retry has 'all'. Use a tuple of exception types"),
        ({"on_failure": OnFailure.BLOCK, "retry": 3}, "with OnFailure.BLOCK"),
        ({"on_failure": OnFailure.BLOCK, "timeout": 3}, "with OnFailure.BLOCK"),
        ({"on_failure": OnFailure.SAVE, "retry_later": Backoff()}, "retry_later is Backoff("),
    ],
)
def test_an_option_that_cannot_be_is_refused_and_the_handler_named(options: dict[str, Any], said: str) -> None:
    group: Any = ConsumerGroup("wrong")
    declare = group.exactly_once(entry_made, name="handler", **options)
    with pytest.raises(DeclarationError, match="^Handler wrong/handler: ") as refused:
        declare(print)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"workers": 0}, "workers is 0. Use a whole number from 1"),
        ({"max_outstanding": 0}, "max_outstanding is 0"),
        ({"max_outstanding_in_all": "many"}, "max_outstanding_in_all is 'many'"),
        ({"start": "now"}, "start is 'now'. Use 'earliest', 'latest' or a datetime with time zone"),
        ({"start": datetime(2026, 1, 1)}, "a datetime with time zone"),
    ],
)
def test_an_option_of_a_group_that_cannot_be_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        ConsumerGroup("wrong", **options)
    assert "Group 'wrong'" in str(refused.value)
    assert said in str(refused.value)


def texts(found: list[CheckMessage], id: str) -> list[str]:
    return [message.msg for message in found if message.id == f"django_events.{id}"]


@pytest.mark.parametrize(
    ("delivery", "options", "said"),
    [
        ("exactly_once", {"batch": Batch(), "concurrency": 2}, "it has batch= and concurrency="),
        ("exactly_once", {"batch": Batch(), "shared_transaction": True}, "it has batch= and shared_transaction="),
        ("idempotent", {"shared_transaction": False}, "it is idempotent and has shared_transaction="),
        ("idempotent", {"using": "default"}, "it is idempotent and has using="),
    ],
)
def test_options_that_contradict_each_other_are_found_by_the_check_and_by_who_runs_the_handler(
    delivery: str, options: dict[str, Any], said: str
) -> None:
    group = ConsumerGroup("torn")
    getattr(group, delivery)(Topic("torn", dict[str, Any]), name="between", **options)(print)
    (text,) = texts(check_declarations(None), "E011")
    assert "Handler torn/between contradicts itself" in text
    assert said in text
    with pytest.raises(DeclarationError, match="torn/between contradicts itself"):
        Service([group])


@pytest.mark.parametrize(
    ("bound", "why"),
    [
        ("max_outstanding", "of one partition (max_outstanding=99). A process that has no other"),
        ("max_outstanding_in_all", "of all partitions together (max_outstanding_in_all=99). So no list is ever full"),
    ],
)
def test_a_list_that_is_waited_for_and_can_never_be_full_is_a_contradiction(bound: str, why: str) -> None:
    group = ConsumerGroup("torn", **{bound: 99})  # type: ignore[arg-type]
    topic = Topic("torn", dict[str, Any])

    def handle(events: list[Event[dict[str, Any]]]) -> None: ...

    batches = {"waiting": Batch(size=100, wait=1), "full": Batch(size=99, wait=1), "not_waiting": Batch(size=100)}
    for name, batch in batches.items():
        declare: Any = group.idempotent(topic, name=name, batch=batch)
        declare(handle)
    (text,) = texts(check_declarations(None), "E011")
    assert "Handler torn/waiting contradicts itself: it waits 1 s for lists of 100 events" in text
    assert why in text
    with pytest.raises(DeclarationError, match="torn/waiting contradicts itself"):
        Service([group])


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("no.such.thing", "cannot be imported"),
        ("tests.waiting", "no func"),
        (f"{__name__}.TOPIC", "no func"),
    ],
)
def test_a_surrounding_that_does_not_exist_is_found_by_the_check(settings: Any, path: str, said: str) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "AROUND_HANDLERS": [path]}
    (text,) = texts(check_handlers(None), "E012")
    assert path in text
    assert said in text


def test_a_database_that_does_not_exist_is_found_by_the_check() -> None:
    ConsumerGroup("lost").exactly_once(entry_made, name="handle", using="nowhere")(print)
    (text,) = texts(check_handlers(None), "E013")
    assert "Handler lost/handle is declared with using='nowhere', which is not in settings.DATABASES" in text
