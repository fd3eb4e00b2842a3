"""P4: a refused event is set aside, a refused topic is held back in its order; loudly, and nobody else waits."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)
from django.db import OperationalError, connection, transaction

from django_events import Topic
from django_events.exceptions import BrokerUnavailable
from django_events.models import Cut, OutgoingEvent, lane_of
from django_events.producing import courier
from django_events.producing.courier import Sending
from django_events.producing.lanes import WaitingLanes
from django_events.producing.sender import Sender
from django_events.signals import event_set_aside
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
    """The numbers of this key in the order of their first delivery: of a slow Kafka's answers some come too late."""
    found = [record.payload["number"] for record in broker.read(topic) if record.key == key.encode()]
    return list(dict.fromkeys(found))


def allow(broker: Broker, topic: str, size: int) -> None:
    """Change the topic's own size limit, and wait until Kafka goes by it: that is a moment after it has said so."""
    limit = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, broker.prefix + topic, incremental_configs=[limit])
    (answer,) = broker.admin.incremental_alter_configs([resource]).values()
    answer.result()

    def is_allowed() -> bool:
        broker.put(topic, b"x" * (size // 2), key=b"a try")
        return any(record.key == b"a try" for record in broker.read(topic))

    wait_for(is_allowed)


def test_an_event_that_is_refused_alone_is_set_aside_and_holds_up_none(
    broker: Broker, relay: None, declarations: None, caplog: Any
) -> None:
    """It is too large since its topic's limit was lowered; before and behind it are innocents of the same key."""
    topic = Topic("narrow", dict[str, Any])
    told: list[tuple[str, bytes | None, str]] = []

    def note(sender: str, key: bytes | None, error: str, **_: object) -> None:
        told.append((sender, key, error))

    event_set_aside.connect(note)
    broker.create("narrow", max_message_bytes="2000")
    with transaction.atomic():
        for number in range(10):
            topic.send({"number": number, "filler": "x" * (5000 if number in (3, 7) else 0)}, key="a")
            topic.send({"number": number, "filler": ""}, key="b")
    wait_for(lambda: len(saved_events("narrow")) == 2)
    assert numbers(broker, "narrow", "b") == list(range(10))
    assert numbers(broker, "narrow", "a") == [0, 1, 2, 4, 5, 6, 8, 9]
    one, two = saved_events("narrow")
    assert one.lane is None and two.lane is None
    assert "too large" in (one.error or "")
    assert [(sender, key) for sender, key, _ in told] == [("narrow", b"a")] * 2
    assert caplog.text.count("is set aside, because Kafka refuses it") == 2
    event_set_aside.disconnect(note)

    allow(broker, "narrow", 1_000_000)
    assert OutgoingEvent.objects.send_again([one.pk, two.pk, 0], "default") == [one.pk, two.pk]
    send(topic, "a", 10)  # wakes its lane
    wait_for(lambda: not OutgoingEvent.objects.exists())
    assert numbers(broker, "narrow", "a") == [0, 1, 2, 4, 5, 6, 8, 9, 3, 7, 10]


def test_an_event_that_is_larger_than_a_segment_of_its_topic_is_set_aside_and_holds_up_none(
    broker: Broker, relay: None, declarations: None
) -> None:
    broker.create("short", max_message_bytes="5000000", segment_bytes="1048576")
    topic, other = Topic("short", dict[str, Any], max_bytes=2_000_000), Topic("other", dict[str, Any])
    send(topic, "a", 1, size=1_500_000)
    send(topic, "a", 2)
    send(other, "a", 3)
    wait_for(lambda: not saved_events("other") and [row.lane for row in saved_events("short")] == [None])
    assert numbers(broker, "short", "a") == [2]
    assert numbers(broker, "other", "a") == [3]


@pytest.mark.usefixtures("patient_sender")
def test_a_row_that_somebody_has_damaged_is_set_aside_and_holds_up_none(
    broker: Broker, transactional_db: None, declarations: None
) -> None:
    topic = Topic("damaged", dict[str, Any])
    broker.create("damaged")
    for number in range(4):
        send(topic, "a", number)
    OutgoingEvent.objects.filter(pk=saved_events("damaged")[1].pk).update(headers=b"\xc1")
    lanes, sender = WaitingLanes({lane_of("damaged", b"a", "")}), Sender()
    while sender.round(lanes, "default"):
        pass
    (row,) = saved_events("damaged")
    assert row.lane is None and "its headers cannot be read" in (row.error or "")
    assert [record.payload["number"] for record in broker.read("damaged")] == [0, 2, 3], "each once"


@pytest.mark.usefixtures("patient_sender")
def test_nothing_of_its_key_is_sent_before_it_is_committed_that_an_event_is_set_aside(
    broker: Broker, transactional_db: None, declarations: None, monkeypatch: Any
) -> None:
    """The round loses its database when it writes the refusal down. The next one does both."""
    topic = Topic("narrow", dict[str, Any])
    broker.create("narrow", max_message_bytes="2000")
    with transaction.atomic():
        topic.send({"number": 0}, key="a")
        for number in (1, 2):
            topic.send({"number": number, "filler": "x" * (5000 if number == 1 else 0)}, key="a")
        topic.send({"number": 3}, key="b")
    lanes = WaitingLanes({lane_of("narrow", key, "") for key in (b"a", b"b")})
    sender = Sender()

    def lose_the_database(*_: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with monkeypatch.context() as patched, pytest.raises(OperationalError):
        patched.setattr(type(OutgoingEvent.objects), "set_aside", lose_the_database)
        sender.round(lanes, "default")
    connection.close()
    assert numbers(broker, "narrow", "a") == [0]

    while sender.round(lanes, "default"):
        pass
    assert numbers(broker, "narrow", "a") == [0, 2]
    assert numbers(broker, "narrow", "b") == [3]
    assert [row.lane for row in saved_events("narrow")] == [None]
    sender.close()


def test_what_kafka_has_acknowledged_counts_although_the_refused_event_cannot_be_sent_alone(
    transactional_db: None, declarations: None, monkeypatch: Any
) -> None:
    """A producer of its own is needed for that, and so perhaps a token that is not to be had at this moment."""

    def no_token(*_: object) -> None:
        raise BrokerUnavailable("There is no OAuth token")

    topic = Topic("narrow", dict[str, Any])
    send(topic, "a", 1)
    lane = lane_of("narrow", b"a", "")
    (row,) = OutgoingEvent.objects.read([lane], Cut(rows=10, size=1_000), "default")
    monkeypatch.setattr(courier, "Producer", no_token)
    sending = Sending(acknowledged=[row.id - 1])
    courier._send_alone([row], sending)
    assert (sending.acknowledged, sending.unanswered) == ([row.id - 1], "There is no OAuth token")


def test_an_event_that_was_set_aside_can_be_discarded_and_no_other(
    broker: Broker, transactional_db: None, declarations: None
) -> None:
    topic = Topic("narrow", dict[str, Any])
    send(topic, "a", 1)
    send(topic, "a", 2)
    one, two = saved_events("narrow")
    OutgoingEvent.objects.set_aside({one.pk: "no"}, "default")
    assert OutgoingEvent.objects.discard([one.pk, two.pk], "default") == [one.pk]
    assert saved_events("narrow") == [two]


def test_an_event_without_key_for_a_compacted_topic_is_set_aside(
    broker: Broker, relay: None, declarations: None
) -> None:
    topic = Topic("compacted", dict[str, Any])
    broker.create("compacted", cleanup_policy="compact")
    with transaction.atomic():
        topic.send({"number": 1}, key="a")
        topic.send({"number": 2})
        topic.send({"number": 3}, key="a")
    wait_for(lambda: len(saved_events("compacted")) == 1)
    assert numbers(broker, "compacted", "a") == [1, 3]
    assert saved_events("compacted")[0].key is None


def test_a_topic_that_we_may_not_write_is_held_back_in_order_while_others_go_on(
    broker: Broker, relay: None, declarations: None, caplog: Any
) -> None:
    forbidden, allowed = Topic("forbidden", dict[str, Any]), Topic("allowed", dict[str, Any])
    broker.create("forbidden")
    broker.create("allowed")
    with forbidding(broker, "forbidden"):
        for number in range(5):
            send(forbidden, "a", number)
            send(allowed, "a", number)
        wait_for(lambda: "Topic 'forbidden' is held back" in caplog.text)
        send(allowed, "a", 5)
        wait_for(lambda: not saved_events("allowed"))
        assert len(saved_events("forbidden")) == 5
        assert not any(row.error for row in saved_events("forbidden"))
    wait_for(lambda: not OutgoingEvent.objects.exists())
    assert numbers(broker, "forbidden", "a") == list(range(5))
    assert numbers(broker, "allowed", "a") == list(range(6))


@contextmanager
def forbidding(broker: Broker, topic: str) -> Iterator[None]:
    """Inside, Kafka lets nobody write to this topic."""
    rule = (ResourceType.TOPIC, broker.prefix + topic, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*")
    operation = (AclOperation.WRITE, AclPermissionType.DENY)
    for answer in broker.admin.create_acls([AclBinding(*rule, *operation)]).values():
        answer.result()
    wait_for(lambda: broker.admin.describe_acls(AclBindingFilter(*rule, *operation)).result())
    try:
        yield
    finally:
        for answer in broker.admin.delete_acls([AclBindingFilter(*rule, *operation)]).values():
            answer.result()


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
    assert config["message.timestamp.type"] == "LogAppendTime"
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
    return number in [partition.id for partition in broker.partitions(topic)]


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
