"""``manage.py events topics``: what is declared, what Kafka has, and where they differ."""

import io
import json
from typing import Any

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, ResourceType
from django.core.management import call_command
from django.core.management.base import CommandError

from django_events import ConsumerGroup, Event, OnFailure, Topic, handlers, topics
from django_events.kafka import spec
from tests.broker import Broker
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("declarations")

Payload = dict[str, Any]


@pytest.fixture(autouse=True)
def nothing_declared(declarations: None) -> None:
    """What the apps declare is left out; the fixture that we use brings it back."""
    for declared in (topics._declared, spec._declared, handlers._groups):
        declared.clear()


def run(*arguments: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("events", "topics", "--timeout=60", *arguments, stdout=out, stderr=err)  # the last one counts
    return out.getvalue(), err.getvalue()


def facts(*arguments: str) -> dict[str, dict[str, Any]]:
    return {each["topic"]: each for each in map(json.loads, run("--json", *arguments)[0].splitlines())}


def differences(topic: str) -> dict[str, tuple[str, str]]:
    return {each["what"]: (each["declared"], each["actual"]) for each in facts()[topic]["differences"]}


def declare_group(topic: Topic[Payload], on_failure: OnFailure = OnFailure.SAVE) -> None:
    group = ConsumerGroup("billing")

    @group.idempotent(topic, on_failure=on_failure)
    def bill(event: Event[Payload]) -> None: ...


def set_config(broker: Broker, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, broker.prefix + topic, incremental_configs=[entry])
    (answer,) = broker.admin.incremental_alter_configs([resource]).values()
    answer.result()


@pytest.mark.kafka
def test_topics_of_dead_letters_that_a_group_here_handles_for_another_site_are_created_too(broker: Broker) -> None:
    doctors = ConsumerGroup("doctors")

    @doctors.idempotent(Topic("orders", Payload, partitions=3), dead_letters_of="billing")
    def look(event: Event[Payload]) -> None: ...

    assert facts()["orders.billing.dead-letter"]["state"] == "missing"
    assert facts("--create", "--check")["orders.billing.dead-letter"]["state"] == "created"
    wait_for(lambda: broker.exists("orders.billing.dead-letter"))
    assert facts()["orders.billing.dead-letter"]["partitions"] == 3


@pytest.mark.kafka
def test_what_is_missing_is_created_when_asked_for_and_then_all_is_as_declared(broker: Broker) -> None:
    orders = Topic(
        "orders", Payload, partitions=3, replication_factor=1, max_bytes=2_000_000, config={"retention.ms": "86400000"}
    )
    Topic("customers", Payload, compacted=True)
    declare_group(orders)
    names = {"orders", "customers", "orders.billing.dead-letter"}
    assert {name: each["state"] for name, each in facts().items()} == dict.fromkeys(names, "missing")
    assert not any(map(broker.exists, names)), "asking creates nothing"
    with pytest.raises(CommandError, match="3 of 3 topics are missing or differ"):
        run("--check")
    assert {name: each["state"] for name, each in facts("--create", "--check").items()} == dict.fromkeys(
        names, "created"
    )
    wait_for(lambda: all(map(broker.exists, names)))
    found = facts("--check")
    assert {name: each["state"] for name, each in found.items()} == dict.fromkeys(names, "ok")
    assert {name: each["partitions"] for name, each in found.items()} == {
        "orders": 3,
        "customers": 2,
        "orders.billing.dead-letter": 3,
    }
    assert found["orders"]["name_in_kafka"] == broker.prefix + "orders"


@pytest.mark.kafka
def test_it_creates_also_where_nothing_else_may(broker: Broker, settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "AUTO_CREATE_TOPICS": False}
    declare_group(Topic("orders", Payload))
    assert {each["state"] for each in facts("--create").values()} == {"created"}


@pytest.mark.kafka
def test_each_difference_is_named(broker: Broker) -> None:
    Topic(
        "orders",
        Payload,
        partitions=3,
        replication_factor=2,
        max_bytes=2_000_000,
        config={"retention.ms": "1000", "cleanup.policy": "delete,compact", "retention.mss": "1"},
    )
    broker.create("orders", partitions=4, cleanup_policy="compact,delete")
    assert differences("orders") == {
        "partitions": ("3", "4"),
        "replication_factor": ("2", "1"),
        "retention.ms": ("1000", "604800000"),
        "retention.mss": ("1", "Kafka has no such option"),
        "max.message.bytes": ("2000000 or more", "1048588"),
    }
    with pytest.raises(CommandError, match="1 of 1 topics are missing or differ"):
        run("--check")
    with pytest.raises(CommandError):
        run("--create", "--check")
    assert "partitions is 4, declared 3" in run()[0]


@pytest.mark.kafka
def test_what_a_declaration_leaves_open_is_no_difference(broker: Broker) -> None:
    Topic("orders", Payload)
    broker.create("orders", partitions=7, retention_ms="1000")
    assert facts("--check")["orders"]["state"] == "ok"


@pytest.mark.kafka
def test_topics_of_dead_letters_must_not_forget_and_follow_their_source(broker: Broker) -> None:
    declare_group(Topic("orders", Payload))
    facts("--create", "--check")
    letters = "orders.billing.dead-letter"
    set_config(broker, letters, "retention.ms", "1000")
    set_config(broker, "orders", "max.message.bytes", "3000000")
    (answer,) = broker.admin.create_partitions([NewPartitions(broker.prefix + "orders", 5)]).values()
    answer.result()
    wait_for(lambda: facts()["orders"]["partitions"] == 5)
    wait_for(
        lambda: (
            differences(letters)
            == {
                "partitions": ("5", "2"),
                "retention.ms": ("-1", "1000"),
                "max.message.bytes": ("3065536 or more", "1114124"),
            }
        )
    )


@pytest.mark.kafka
def test_handlers_that_keep_no_dead_letters_need_no_topic_for_them(broker: Broker) -> None:
    declare_group(Topic("orders", Payload), OnFailure.DISCARD)
    assert set(facts()) == {"orders"}


@pytest.mark.kafka
def test_what_kafka_does_not_let_be_created_is_an_error(broker: Broker, caplog: Any) -> None:
    Topic("orders", Payload, replication_factor=3)  # of one broker
    Topic("others", Payload)
    with pytest.raises(CommandError, match=r"Could not create \w+\.orders: see the log"):
        run("--create")
    assert "Could not create topic" in caplog.text
    assert broker.exists("others"), "one that fails holds up no other"


@pytest.mark.kafka
def test_people_see_a_table_with_kafka_and_prefix_above_it(broker: Broker) -> None:
    Topic("orders", Payload)
    out, err = run("--create")
    assert out.splitlines()[0].split() == ["TOPIC", "STATE", "PARTITIONS", "COPIES", "DIFFERS"]
    assert out.splitlines()[1].split() == [broker.prefix + "orders", "created", "2", "1"]
    assert err == f"Kafka at {broker.bootstrap_servers}, prefix {broker.prefix!r}\n"


@pytest.mark.kafka
def test_a_site_without_topics_is_as_declared(broker: Broker) -> None:
    assert run("--check", "--create")[0] == "No topic is declared.\n"
    assert run("--check", "--json")[0] == ""


def test_without_kafka_it_says_so_in_time(settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA": {"bootstrap.servers": "127.0.0.1:1"}}
    for arguments in ([], ["--create"], ["--check", "--json"]):
        with pytest.raises(CommandError, match=r"Kafka at 127\.0\.0\.1:1 does not answer"):
            run("--timeout", "0.5", *arguments)


def test_a_time_out_is_a_number_of_seconds() -> None:
    with pytest.raises(CommandError, match="'soon' is not a number of seconds"):
        run("--timeout", "soon")
