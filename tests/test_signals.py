"""What the site's receivers learn of groups and dead letters; and a receiver that fails harms nothing."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.dispatch import Signal

from django_events import ConsumerGroup, Event, OnFailure, Topic, signals
from django_events.consuming import letter_writer, repair
from django_events.consuming.group import GroupThread
from django_events.consuming.limits import Limits
from django_events.consuming.service import Service
from django_events.kafka import topics
from django_events.kafka.record import Partition
from django_events.models import OutgoingEvent
from django_events.producing.catchup import Catchup
from django_events.stopping import Stop
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_made
from tests.letters import the_letter
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.usefixtures("declarations")]

Consuming = Callable[..., AbstractContextManager[Service]]

TOPIC, LETTERS = "ledger.entry-made", "ledger.entry-made.ward.dead-letter"
BODY = b'{"account":"bad","number":1}'
BOTH = [Partition(TOPIC, 0), Partition(TOPIC, 1)]


@pytest.fixture(autouse=True)
def created(broker: Broker) -> None:
    topics.create_missing([TOPIC], timeout=60)
    wait_for(lambda: broker.exists(TOPIC))


@contextmanager
def receiving(signal: Signal, receiver: Callable[..., None]) -> Iterator[None]:
    signal.connect(receiver)
    try:
        yield
    finally:
        signal.disconnect(receiver)


@contextmanager
def told(signal: Signal) -> Iterator[list[dict[str, Any]]]:
    """What the signal tells."""
    found: list[dict[str, Any]] = []

    def note(signal: Signal, **facts: Any) -> None:
        found.append(facts)

    with receiving(signal, note):
        yield found


def a_group_that_fails(name: str = "ward") -> ConsumerGroup:
    group = ConsumerGroup(name)

    @group.idempotent(entry_made, on_failure=OnFailure.SAVE, retry=False)
    def fail(event: Event[EntryMade]) -> None:
        raise ValueError("no")

    return group


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A letter that a slow Kafka has is not written once more."""
    monkeypatch.setattr(letter_writer, "WAIT", 50.0)


# ── dead letters ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_dead_letter_is_told_once_kafka_has_it_and_before_the_offset_passes(
    broker: Broker, consuming: Consuming
) -> None:
    group = a_group_that_fails()
    committed: list[int | None] = []

    def look(**_: object) -> None:
        committed.append(broker.committed("ward", TOPIC, 0))

    broker.put(TOPIC, BODY, key=b"bad", partition=0)
    with told(signals.event_dead_lettered) as letters, receiving(signals.event_dead_lettered, look), consuming(group):
        wait_for(lambda: broker.committed("ward", TOPIC, 0) == 1)
    (letter,) = letters
    (in_kafka,) = broker.read(LETTERS)
    assert letter["sender"] is group.handlers[0].function
    assert letter["record"].partition == Partition(TOPIC, 0)
    assert letter["record"].value == BODY
    assert letter["letter_id"].encode() == in_kafka.header("dead-letter-id")
    assert {name: letter[name] for name in ("group", "handler", "attempts", "exception", "letter_topic")} == {
        "group": "ward",
        "handler": "fail",
        "attempts": 1,
        "exception": "ValueError",
        "letter_topic": LETTERS,
    }
    assert committed == [None]


def test_each_failed_try_of_a_dead_letter_is_told(broker: Broker, consuming: Consuming) -> None:
    group = a_group_that_fails()
    broker.put(TOPIC, BODY, key=b"bad", partition=0)
    with told(signals.event_failed) as failures, consuming(group):
        letter = the_letter()
        assert repair.retry([letter.pk]).done == 1
        wait_for(lambda: len(failures) == 2)
    of_event, of_letter = failures
    assert (of_event["attempt"], of_event["follows"], of_event["dead_letter"]) == (1, "buried", None)
    assert (of_letter["record"].partition, of_letter["record"].value) == (Partition(TOPIC, 0), BODY)
    expected = {
        "sender": group.handlers[0].function,
        "group": "ward",
        "handler": "fail",
        "attempt": 2,
        "exception": "ValueError",
        "follows": "kept",
        "dead_letter": letter.pk,
    }
    assert {name: of_letter[name] for name in expected} == expected


# ── partitions ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_change_of_an_assignment_is_told(consuming: Consuming) -> None:
    group = a_group_that_fails()
    with told(signals.group_assigned) as got, told(signals.group_revoked) as gave_up, consuming(group):
        wait_for(lambda: got)  # it is told when the group has noted it, which is what was waited for
        assert [(each["sender"], each["group"], sorted(each["partitions"])) for each in got] == [(group, "ward", BOTH)]
        assert not gave_up
        with consuming(group) as other:
            wait_for(lambda: other._groups[0].partitions)
            wait_for(lambda: gave_up)
            assert [(each["sender"], each["group"], each["lost"]) for each in gave_up] == [(group, "ward", False)]
            (given,) = gave_up[0]["partitions"]
            wait_for(lambda: [Partition(*each) for each in got[-1]["partitions"]] == [given])
        wait_for(lambda: len(got) == 3)  # what the other had comes back
    assert sorted(gave_up[-1]["partitions"]) == BOTH  # at the end


def test_a_partition_is_given_up_when_its_offset_is_committed(broker: Broker, consuming: Consuming) -> None:
    group = a_group_that_fails()
    committed: list[int | None] = []

    def look(**_: object) -> None:
        committed.append(broker.committed("ward", TOPIC, 0))

    broker.put(TOPIC, BODY, key=b"bad", partition=0)
    with receiving(signals.group_revoked, look), consuming(group) as service:
        wait_for(lambda: service.records_done == 1)
    assert committed == [1]


def test_a_lost_partition_is_told_as_lost() -> None:
    thread = GroupThread(a_group_that_fails(), Limits(), lambda line: None)
    with told(signals.group_revoked) as gave_up:
        thread.lost([])
        thread.lost(BOTH[:1])
    assert [(each["partitions"], each["lost"]) for each in gave_up] == [(BOTH[:1], True)]


# ── receivers that fail ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)], ids=["an error", "an end"])
@pytest.mark.parametrize("name", ["event_failed", "event_dead_lettered", "group_assigned", "group_revoked"])
def test_a_receiver_that_fails_ends_no_group(
    broker: Broker, consuming: Consuming, caplog: pytest.LogCaptureFixture, name: str, error: BaseException
) -> None:
    def fail(**_: object) -> None:
        raise error

    for key in (b"bad", b"worse"):
        broker.put(TOPIC, BODY, key=key, partition=0)
    with receiving(getattr(signals, name), fail), consuming(a_group_that_fails()) as service:
        wait_for(lambda: service.records_done == 2)
        assert service.is_healthy
    assert broker.committed("ward", TOPIC, 0) == 2
    assert len(broker.read(LETTERS)) == 2
    if isinstance(error, SystemExit):
        assert f"A receiver of {name} failed" in caplog.text


def test_a_receiver_that_fails_keeps_no_event_from_being_saved(transactional_db: None) -> None:
    def fail(**_: object) -> None:
        raise ValueError("no")

    with receiving(signals.event_saved, fail), transaction.atomic():
        entry_made.send(EntryMade("ann", 1), key="ann")
    assert OutgoingEvent.objects.count() == 1


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)], ids=["an error", "an end"])
def test_a_receiver_that_fails_keeps_no_event_from_being_set_aside_and_none_from_being_sent(
    broker: Broker, transactional_db: None, patient_sender: None, error: BaseException
) -> None:
    def fail(**_: object) -> None:
        raise error

    topic = Topic("tight", dict[str, str])
    broker.create("tight", 1, max_message_bytes="2000")
    with transaction.atomic():
        for filler in ("x" * 5000, "x", "x" * 5000):
            topic.send({"filler": filler}, key="a")
    with receiving(signals.event_set_aside, fail):
        assert Catchup(["default"]).run_once(Stop()).sent == 1
    assert OutgoingEvent.objects.filter(lane=None).count() == 2
    assert len(broker.read("tight")) == 1


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)], ids=["an error", "an end"])
def test_a_receiver_that_fails_stops_no_sender(
    broker: Broker, transactional_db: None, patient_sender: None, error: BaseException
) -> None:
    def fail(**_: object) -> None:
        raise error

    with transaction.atomic():
        for number in range(2):
            entry_made.send(EntryMade("ann", number), key=str(number))
    with receiving(signals.event_sent, fail):
        assert Catchup(["default"]).run_once(Stop()).sent == 2
    assert not OutgoingEvent.objects.exists()
    assert len(broker.read(TOPIC)) == 2


def test_the_page_has_every_signal() -> None:
    page = (Path(__file__).parent.parent / "docs" / "signals.md").read_text()
    names = [name for name, value in vars(signals).items() if isinstance(value, Signal)]
    assert len(names) == 8
    for name in names:
        assert f"`{name}`" in page
