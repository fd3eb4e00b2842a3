"""A topic that has just come into being is waited for: it is no trouble, and nobody is told of any."""

from typing import Any

import pytest
from confluent_kafka.admin import TopicMetadata
from django.db import transaction

from django_events import Topic
from django_events.kafka import producer
from django_events.models import OutgoingEvent
from django_events.producing.catchup import Catchup
from django_events.stopping import Stop
from tests.broker import Broker

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def slow_leaders(broker: Broker, patient_sender: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Partitions have no leader the first times that somebody looks at their topic; yields the looks. However long they
    take, the topic is waited for."""
    looks: list[str] = []
    leaderless = producer._leaderless

    def look(topic: TopicMetadata) -> list[int]:
        if not topic.topic.startswith(broker.prefix):
            return leaderless(topic)
        looks.append(topic.topic)
        return [0] if len(looks) <= 3 else leaderless(topic)

    monkeypatch.setattr(producer, "_leaderless", look)
    return looks


@pytest.fixture
def waiting_event(declarations: None) -> Topic[dict[str, int]]:
    topic = Topic("new", dict[str, int])
    with transaction.atomic():
        topic.send({"number": 1}, key="k")
    return topic


def test_a_topic_that_we_create_is_sent_to_as_soon_as_it_is_whole(
    broker: Broker, waiting_event: Topic[dict[str, int]], slow_leaders: list[str], caplog: Any
) -> None:
    assert Catchup(["default"]).run_once(Stop()).sent == 1
    assert len(slow_leaders) > 3
    assert "held back" not in caplog.text
    assert not OutgoingEvent.objects.exists()


def test_so_is_one_that_another_process_creates_at_the_same_moment(
    broker: Broker,
    waiting_event: Topic[dict[str, int]],
    slow_leaders: list[str],
    caplog: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect = producer.Producer.connect
    calls: list[float] = []

    def connect_a_moment_later(self: producer.Producer, timeout: float) -> None:
        calls.append(timeout)
        if len(calls) == 2:
            broker.create("new")
        connect(self, timeout)

    monkeypatch.setattr(producer.Producer, "connect", connect_a_moment_later)
    assert Catchup(["default"]).run_once(Stop()).sent == 1
    assert len(slow_leaders) > 3
    assert "held back" not in caplog.text
