"""What Kafka refuses is held back in its order, loudly, and comes back by itself; nothing else waits for it."""

from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from django.db import transaction

from django_events import Topic
from django_events.models import OutgoingEvent, lane_of
from django_events.testing import saved_events, sending
from tests.broker import Broker
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


@pytest.fixture
def relay(broker: Broker, transactional_db: None) -> Iterator[None]:
    with sending():
        yield


def send(topic: Topic[dict[str, Any]], key: str, number: int, size: int = 0) -> None:
    with transaction.atomic():
        topic.send({"number": number, "filler": "x" * size}, key=key)


def numbers(broker: Broker, topic: str, key: str) -> list[int]:
    return [record.payload["number"] for record in broker.read(topic) if record.key == key.encode()]


def allow(broker: Broker, topic: str, size: int) -> None:
    """Change the topic's own size limit."""
    limit = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, broker.prefix + topic, incremental_configs=[limit])
    (answer,) = broker.admin.incremental_alter_configs([resource]).values()
    answer.result()


def test_a_refused_event_holds_back_its_lane_in_order_and_no_other(
    broker: Broker, relay: None, declarations: None, caplog: Any
) -> None:
    topic = Topic("narrow", dict[str, Any])
    other = next(
        key for key in map(str, range(99)) if lane_of("narrow", key.encode(), "") != lane_of("narrow", b"a", "")
    )
    broker.create("narrow", max_message_bytes="2000")
    with transaction.atomic():
        for number in range(10):
            topic.send({"number": number, "filler": "x" * (5000 if number == 3 else 0)}, key="a")
            topic.send({"number": number, "filler": ""}, key=other)
    wait_for(lambda: numbers(broker, "narrow", other) == list(range(10)))
    wait_for(lambda: len(saved_events("narrow")) == 7)  # the lane waits from the refused row on
    assert numbers(broker, "narrow", "a") == [0, 1, 2]
    wait_for(lambda: "is held back: the event" in caplog.text)
    send(topic, other, 10)
    wait_for(lambda: 10 in numbers(broker, "narrow", other))
    allow(broker, "narrow", 1_000_000)
    wait_for(lambda: not OutgoingEvent.objects.exists())
    assert numbers(broker, "narrow", "a") == list(range(10))
    assert "works again" in caplog.text


def test_a_topic_that_kafka_does_not_have_is_held_back_and_comes_back_by_itself(
    broker: Broker, relay: None, declarations: None, settings: Any, caplog: Any
) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "AUTO_CREATE_TOPICS": False}
    absent, present = Topic("absent", dict[str, Any]), Topic("present", dict[str, Any])
    broker.create("present")
    for number in range(5):
        send(absent, "a", number)
        send(present, "a", number)
    wait_for(lambda: numbers(broker, "present", "a") == list(range(5)))
    wait_for(lambda: "Topic 'absent' is held back: Kafka does not have it" in caplog.text)
    assert len(saved_events("absent")) == 5
    assert not broker.exists("absent")
    broker.create("absent")
    wait_for(lambda: not OutgoingEvent.objects.exists())
    assert numbers(broker, "absent", "a") == list(range(5))


def test_a_declared_topic_is_created_with_what_was_declared(broker: Broker, relay: None, declarations: None) -> None:
    topic = Topic("made", dict[str, Any], partitions=3, max_bytes=2_000_000, config={"retention.ms": "1000000"})
    send(topic, "a", 1, size=1_500_000)  # above what Kafka allows a topic by default
    wait_for(lambda: not OutgoingEvent.objects.exists())
    resource = ConfigResource(ResourceType.TOPIC, broker.prefix + "made")
    (answer,) = broker.admin.describe_configs([resource]).values()
    config = {name: entry.value for name, entry in answer.result().items()}
    assert config["retention.ms"] == "1000000"
    assert int(config["max.message.bytes"]) > 2_000_000
    assert {number for number in range(10) if has_partition(broker, "made", number)} == {0, 1, 2}


def test_a_topic_that_vanishes_is_created_again_and_its_events_arrive(
    broker: Broker, relay: None, declarations: None
) -> None:
    topic = Topic("vanishing", dict[str, Any])
    send(topic, "a", 1)
    wait_for(lambda: not OutgoingEvent.objects.exists())
    broker.delete("vanishing")
    send(topic, "a", 2)
    wait_for(lambda: not OutgoingEvent.objects.exists())
    assert numbers(broker, "vanishing", "a") == [2]


def has_partition(broker: Broker, topic: str, number: int) -> bool:
    metadata = broker.admin.list_topics(timeout=10)
    return number in metadata.topics[broker.prefix + topic].partitions


def test_a_topic_of_another_site_with_the_bare_name_is_not_taken_for_ours(
    broker: Broker, relay: None, declarations: None
) -> None:
    """The prefix is for sites that share a Kafka: one of them may have none."""
    bare = Broker(broker.bootstrap_servers, "")
    name = f"bare-{broker.prefix.rstrip('.')}"
    bare.create(name)
    topic = Topic(name, dict[str, Any])
    send(topic, "a", 1)
    wait_for(lambda: not OutgoingEvent.objects.exists())
    assert numbers(broker, name, "a") == [1]
    assert not bare.read(name)
