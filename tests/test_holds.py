"""Topics that are held back: how long, how loudly, and that a topic about which Kafka says nothing is one of them."""

import io
import logging
import math
from typing import Any

import confluent_kafka
import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from django_events import Topic
from django_events.management.commands import catchup as catchup_command
from django_events.models import LaneName, OutgoingEvent, lane_of
from django_events.producing import courier, patience, sender
from django_events.producing.catchup import Catchup
from django_events.producing.holds import INCOMPLETE, LASTING, REFUSED, Holds
from django_events.producing.lanes import WaitingLanes
from django_events.producing.sender import Sender
from django_events.retry import Backoff
from django_events.stopping import Stop
from tests.broker import Broker
from tests.waiting import wait_for

NO_LEADER = "partition 0 has no leader"


class Clock:
    """The time of a test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    return clock


def test_a_topic_that_is_held_for_a_moment_is_a_warning_and_one_for_long_an_error_each_said_once(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    holds = Holds()
    for _ in range(3):
        holds.hold("t", NO_LEADER, INCOMPLETE)
        clock.now += LASTING / 5
    clock.now += LASTING
    for _ in range(3):
        holds.hold("t", NO_LEADER, INCOMPLETE)
    holds.hold("t", "not authorized", REFUSED)
    holds.release(["t", "another"])
    assert [(record.levelno, record.message.split(". It")[0]) for record in caplog.records] == [
        (logging.WARNING, f"Topic 't' is held back: {NO_LEADER}"),
        (logging.ERROR, f"Topic 't' is held back for 16 s: {NO_LEADER}"),
        (logging.ERROR, "Topic 't' is held back for 16 s: not authorized"),
        (logging.WARNING, "Topic 't' is held back: works again after 16.0 s."),
    ]


def test_what_costs_only_a_look_is_looked_at_sooner_than_what_must_be_tried(clock: Clock) -> None:
    holds = Holds()
    for _ in range(20):
        holds.hold("leaderless", NO_LEADER, INCOMPLETE)
        holds.hold("forbidden", "not authorized", REFUSED)
    waits = [holds.next_due([LaneName(topic, 0)]) - clock.now for topic in ("leaderless", "forbidden")]
    assert waits[0] <= INCOMPLETE.max * 1.05 < REFUSED.max * 0.95 <= waits[1]


class Deaf(confluent_kafka.Producer):  # type: ignore[misc]
    """Never hears what becomes of the events of one topic with the key ``k``."""

    topic = ""

    def produce(self, topic: str, **options: Any) -> None:
        if (topic, options["key"]) != (Deaf.topic, b"k"):
            super().produce(topic, **options)


@pytest.fixture
def silent(
    broker: Broker, transactional_db: None, declarations: None, monkeypatch: pytest.MonkeyPatch
) -> Topic[dict[str, int]]:
    """A topic about whose events Kafka does not answer, as when too few of its copies are in sync. All that it does
    answer has time: what is never handed over is not waited for."""
    monkeypatch.setattr(confluent_kafka, "Producer", Deaf)
    monkeypatch.setattr(courier, "CONNECT_WAIT", 60.0)
    monkeypatch.setattr(patience, "SHORTEST", 10.0)
    monkeypatch.setattr("django_events.producing.holds.LASTING", math.inf)
    monkeypatch.setattr(Deaf, "topic", f"{broker.prefix}silent")
    for topic in ("silent", "loud"):
        broker.create(topic)
    return Topic("silent", dict[str, int])


def send(topic: Topic[dict[str, int]], number: int, key: str = "k") -> LaneName:
    with transaction.atomic():
        topic.send({"number": number}, key=key)
    return lane_of(topic.name, key.encode(), "")


def numbers(broker: Broker, topic: str) -> list[int]:
    return [record.payload["number"] for record in broker.read(topic)]


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_topic_about_which_kafka_does_not_answer_is_held_back_while_others_go_on(
    broker: Broker, silent: Topic[dict[str, int]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sender, "SILENT", Backoff(first=600, max=600))
    loud = Topic("loud", dict[str, int])
    lanes = WaitingLanes([send(silent, 1), send(loud, 1), send(loud, 2)])
    rounds = Sender()
    first = rounds.round(lanes, "default")
    assert first and (first.sent, first.is_held, first.is_outage) == (1, True, False)
    second = rounds.round(lanes, "default")  # what followed the first record of a new producer was not even sent
    assert second and (second.sent, second.unanswered) == (1, None), "one was held for the other, or tried with it"
    assert rounds.round(lanes, "default") is None
    assert "Topic 'silent' is held back: Kafka answers, but not about its events: no acknowledgement" in caplog.text

    rounds._holds.release(["silent"])
    alone = rounds.round(lanes, "default")
    assert alone and (alone.sent, alone.is_held, alone.is_outage) == (0, True, False), "all others would wait with it"

    monkeypatch.setattr(Deaf, "topic", "")
    rounds._holds.release(["silent"])
    send(silent, 2)
    assert wait_for(lambda: rounds.round(lanes, "default"))
    assert not OutgoingEvent.objects.exists()
    assert numbers(broker, "silent") == numbers(broker, "loud") == [1, 2]
    rounds.close()


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_topic_of_which_kafka_acknowledges_a_part_does_not_work_again(
    silent: Topic[dict[str, int]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sender, "SILENT", Backoff(first=0.01, max=0.01))
    lanes = WaitingLanes([send(silent, 1)])
    rounds = Sender()
    for number in (1, 2):
        lanes.add([send(silent, number, "fourth")])  # another partition
        done = wait_for(lambda: rounds.round(lanes, "default"))
        assert done and (done.sent, done.is_held) == (1, True)
    assert caplog.text.count("Topic 'silent'") == 1, "it is held back, and nothing more is said"
    rounds.close()


@pytest.mark.kafka
@pytest.mark.postgres
def test_catchup_once_fails_if_a_topic_was_held_back_whatever_it_has_sent_since(
    broker: Broker, silent: Topic[dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "SILENT", Backoff(first=600, max=600))
    loud = Topic("loud", dict[str, int])
    for topic, number in ((silent, 1), (loud, 1), (loud, 2)):
        send(topic, number)
    output = io.StringIO()
    with pytest.raises(CommandError, match="did not take all .* Topic 'silent' is held back: .* stay in the outbox"):
        call_command("catchup", "--once", stdout=output)
    assert "Sent 2 events" in output.getvalue()
    assert numbers(broker, "loud") == [1, 2]


@pytest.mark.kafka
@pytest.mark.postgres
def test_catchup_once_fails_if_it_was_stopped_before_all_was_sent(
    silent: Topic[dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    send(Topic("loud", dict[str, int]), 1)
    stop = Stop()
    stop.set()
    monkeypatch.setattr(catchup_command, "Stop", lambda: stop)
    with pytest.raises(CommandError, match="It was stopped before all were sent. They stay in the outbox."):
        call_command("catchup", "--once", stdout=io.StringIO())


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_topic_whose_events_others_have_sent_is_not_held_back_any_more(
    silent: Topic[dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "SILENT", Backoff(first=0.01, max=0.01))
    lanes, rounds, catchup = WaitingLanes([send(silent, 1)]), Sender(), Catchup(["default"])
    wait_for(lambda: rounds.round(lanes, "default"))
    assert catchup._guarded_pass("default", Stop()).left
    assert rounds.troubles and catchup.activity().troubles
    monkeypatch.setattr(Deaf, "topic", "")
    assert Catchup(["default"]).run_once(Stop()).sent == 1
    wait_for(lambda: rounds.round(lanes, "default"))
    catchup._guarded_pass("default", Stop())
    assert not rounds.troubles
    assert not catchup.activity().troubles
    rounds.close()
    catchup.close()


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_topic_that_is_silent_for_longer_is_no_news(
    silent: Topic[dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "SILENT", Backoff(first=0.01, max=0.01))
    lanes, rounds = WaitingLanes([send(silent, 1)]), Sender()
    told = set()
    for _ in range(2):  # the second waits for longer
        wait_for(lambda: rounds.round(lanes, "default"))
        told.update(rounds.troubles)
    assert len(told) == 1
    rounds.close()


@pytest.mark.kafka
@pytest.mark.postgres
def test_catchup_takes_a_topic_about_which_kafka_does_not_answer_for_no_outage(
    broker: Broker, silent: Topic[dict[str, int]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sender, "SILENT", Backoff(first=0.01, max=0.01))
    send(silent, 1)
    catchup = Catchup(["default"])
    assert catchup._guarded_pass("default", Stop()).left
    assert "Sending events to Kafka" not in caplog.text
    assert "Topic 'silent' is held back" in caplog.text
    monkeypatch.setattr(Deaf, "topic", "")
    wait_for(lambda: catchup._guarded_pass("default", Stop()).sent)
    assert "Topic 'silent' is held back: works again" in caplog.text
    catchup.close()
