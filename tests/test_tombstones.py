"""Compacted topics: every event has a key, and a tombstone has Kafka and the handlers forget one."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka.admin import ConfigResource, ResourceType
from django.db import transaction

from django_events import ConsumerGroup, DeclarationError, EncodingError, Event, InvalidEvent, OnFailure, Topic
from django_events.consuming import repair
from django_events.consuming.service import Service
from django_events.kafka import topics
from django_events.models import DeadLetter, OutgoingEvent
from django_events.testing import saved_events, sending
from tests.broker import Broker
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("declarations")

Consuming = Callable[..., AbstractContextManager[Service]]


@dataclass(frozen=True)
class Customer:
    name: str


def customers() -> Topic[Customer | None]:
    return Topic("customers", Customer, compacted=True)


def test_a_tombstone_is_an_event_without_payload_and_body() -> None:
    from django_events import cloudevents

    event = customers().tombstone("7", headers={"tenant": "blue"})
    assert (event.payload, event.data, event.key, event.subject, event.dataschema) == (None, None, "7", "7", None)
    record = cloudevents.encode(event)
    assert (record.key, record.value) == (b"7", None)
    names = [name for name, _ in record.headers]
    assert names == ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_subject", "ce_time", "tenant"]


@pytest.mark.parametrize("policy", ["compact", "compact,delete", "delete, compact"])
def test_a_topic_may_also_be_declared_as_compacted_by_its_config(policy: str) -> None:
    topic = Topic("customers", Customer, config={"cleanup.policy": policy})
    assert topic.tombstone("7").data is None
    with pytest.raises(InvalidEvent, match="is compacted"):
        topic.event(Customer("ann"))


def test_compacted_and_a_config_that_is_not_contradict_each_other() -> None:
    assert Topic("both", dict, compacted=True, config={"cleanup.policy": "compact,delete"}).spec.is_compacted
    with pytest.raises(DeclarationError, match=r"declared as compacted, but with cleanup\.policy='delete'"):
        Topic("customers", dict, compacted=True, config={"cleanup.policy": "delete"})


@pytest.mark.django_db
def test_what_a_compacted_topic_cannot_take_is_refused_with_nothing_saved() -> None:
    topic, other = customers(), Topic("others", dict)
    with transaction.atomic():
        for refused, reason in (
            (lambda: topic.send(Customer("ann")), "Kafka keeps its last event of each key. Send it with a key="),
            (lambda: topic.send(None, key="7"), r"is None\. .*send_tombstone\(key\)"),
            (lambda: topic.send_tombstone(None), "Send it with a key="),  # type: ignore[arg-type]
            (lambda: topic.send_tombstone(7), "key must be a text"),  # type: ignore[arg-type]
            (lambda: other.send_tombstone("7"), "not declared as compacted"),
            (lambda: topic.send_many([topic.event(Customer("a"), key="1"), other.event({})]), "was given"),  # type: ignore[list-item]
        ):
            with pytest.raises((InvalidEvent, EncodingError), match=reason):
                refused()
    assert not saved_events()


@pytest.mark.kafka
@pytest.mark.postgres
def test_handlers_get_tombstones_in_the_order_of_their_key(broker: Broker, consuming: Consuming) -> None:
    topic = customers()
    group = ConsumerGroup("mirror")
    mirror: dict[str | None, Customer] = {}
    seen: list[Any] = []

    @group.exactly_once(topic)
    def follow(event: Event[Customer | None]) -> None:
        seen.append(event.payload)
        if event.payload is None:
            del mirror[event.key]
        else:
            mirror[event.key] = event.payload

    with sending(60):
        with transaction.atomic():
            topic.send(Customer("ann"), key="1")
            topic.send(Customer("bob"), key="2")
        with transaction.atomic():
            topic.send_tombstone("1")
        with consuming(group):
            wait_for(lambda: len(seen) == 3)
        wait_for(lambda: not OutgoingEvent.objects.exists())
    assert mirror == {"2": Customer("bob")}
    gone, *_ = [record for record in broker.read("customers") if record.value is None]
    assert gone.key == b"1"
    assert gone.header("ce_sequence")
    resource = ConfigResource(ResourceType.TOPIC, broker.prefix + "customers")
    (answer,) = broker.admin.describe_configs([resource]).values()
    assert answer.result()["cleanup.policy"].value == "compact"


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_tombstone_of_a_stranger_is_one_too_but_only_on_a_compacted_topic(
    broker: Broker, consuming: Consuming
) -> None:
    compacted, plain = customers(), Topic("plain", Customer)
    group = ConsumerGroup("mirror")
    read: list[Event[Customer | None]] = []

    @group.idempotent(compacted, plain, on_failure=OnFailure.SAVE)
    def follow(event: Event[Customer | None]) -> None:
        read.append(event)

    topics.create_missing(["customers", "plain"], timeout=60)
    broker.put("plain", None, key=b"1")
    broker.put("customers", None, key=b"1")
    with consuming(group):
        (event,) = wait_for(lambda: read)
        letter = wait_for(DeadLetter.objects.first)
    assert letter is not None
    assert (event.topic, event.key, event.payload, event.data) == ("customers", "1", None, None)
    assert "has no body" in letter.message


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_tombstone_that_failed_is_a_dead_letter_that_can_be_retried(broker: Broker, consuming: Consuming) -> None:
    topic = customers()
    group = ConsumerGroup("mirror")
    read: list[Customer | None] = []
    ill = True

    @group.exactly_once(topic, on_failure=OnFailure.SAVE, retry=False)
    def follow(event: Event[Customer | None]) -> None:
        if ill:
            raise ValueError("ill")
        read.append(event.payload)

    with sending(60), transaction.atomic():
        topic.send_tombstone("1")
    with consuming(group):
        letter = wait_for(DeadLetter.objects.first)
        assert letter is not None
        assert letter.value is None
        assert repair.editable_payload(letter) == ""
        ill = False
        repair.retry([letter.pk])
        wait_for(lambda: read == [None])
