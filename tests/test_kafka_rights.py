"""A user with the rights in Kafka that docs/kafka-rights.md gives it, and no others, does all its work."""

import argparse
import json
import re
import shlex
import uuid
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AclOperation, ResourceType
from django.core.management import CommandError, call_command

from django_events import ConsumerGroup, Event, OnFailure
from django_events.consuming.service import Service
from django_events.models import DeadLetter, OutgoingEvent
from django_events.producing import courier, produce, relay
from django_events.producing.immediate import immediate
from django_events.retry import Backoff
from django_events.testing import sending
from tests.broker import Broker
from tests.fixtures import SESSION
from tests.ledger.entries import make_entry
from tests.ledger.events import EntryMade, entry_made
from tests.services.credentials import by_password
from tests.services.secure_kafka import SecureKafka
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.usefixtures("declarations", "transactional_db")]

PAGE = Path(__file__).parents[1] / "docs" / "kafka-rights.md"
TOPIC, LETTERS = "ledger.entry-made", "ledger.entry-made.ward.dead-letter"
ENTRY = b'{"account":"ann","number":1,"hold":""}'


@pytest.fixture
def inside(secure: SecureKafka) -> Broker:
    """What the tests see in this Kafka, past its security. No topic is there."""
    return Broker(secure.address, f"t{uuid.uuid4().hex[:10]}.")


@pytest.fixture
def become(secure: SecureKafka, inside: Broker, settings: Any) -> Callable[[str], None]:
    """Have this process be this user of Kafka."""

    def become(user: str) -> None:
        settings.DJANGO_EVENTS = {
            **settings.DJANGO_EVENTS,
            "KAFKA": by_password(secure, "PLAIN") | {"sasl.username": user},
            "KAFKA_CONSUMER": SESSION,
            "PREFIX": inside.prefix,
        }

    return become


@pytest.fixture
def ward() -> ConsumerGroup:
    """A group whose handler refuses everything."""
    group = ConsumerGroup("ward")

    @group.idempotent(entry_made, on_failure=OnFailure.SAVE, retry=False)
    def treat(event: Event[EntryMade]) -> None:
        raise ValueError("no")

    return group


def test_a_web_process_sends_once_it_has_its_rights(
    inside: Broker, become: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(courier, "CONNECT_WAIT", 0.6)
    monkeypatch.setattr(relay, "OUTAGE", Backoff(first=0.05, max=0.1))
    monkeypatch.setattr(produce, "nothing_is_sent", lambda: False)
    monkeypatch.setattr("django_events.producing.immediate.nothing_is_sent", lambda: False)
    become("web")
    with sending():
        make_entry("ann")
        wait_for(lambda: re.search("Authorization failed", caplog.text))
        assert OutgoingEvent.objects.count() == 1
        grant(inside, "web")
        wait_for(lambda: not OutgoingEvent.objects.exists())
    immediate._discard()
    entry_made.send_now(EntryMade("now", 1), key="now", timeout=60)
    assert len({record.id for record in inside.read(TOPIC)}) == 2


def test_a_worker_handles_once_it_has_its_rights(
    inside: Broker, become: Callable[[str], None], ward: ConsumerGroup, caplog: Any
) -> None:
    inside.create(TOPIC)
    inside.put(TOPIC, ENTRY, key=b"ann", partition=0)
    become("worker")
    service = Service([ward])
    service.begin()
    try:
        wait_for(lambda: re.search("authorization failed", caplog.text))
        grant(inside, "worker")
        wait_for(lambda: DeadLetter.objects.exists())
        letter = DeadLetter.objects.get()
        wait_for(lambda: inside.committed("ward", TOPIC, 0) == 1)
        said("dead-letters", "retry", "--all")
        wait_for(lambda: DeadLetter.objects.get().attempts > letter.attempts)
        wait_for(lambda: inside.committed("ward-dead-letter", LETTERS, 0))
    finally:
        assert service.stop(120), "the group did not end"


def test_an_operator_uses_every_verb(inside: Broker, become: Callable[[str], None], ward: ConsumerGroup) -> None:
    become("operator")
    with pytest.raises(CommandError, match="authorization failed"):
        call_command("events", "groups", "--timeout=60", stdout=StringIO())
    grant(inside, "operator")
    call_command("events", "topics", "--create", "--timeout=60", stdout=StringIO())
    wait_for(lambda: inside.exists(TOPIC) and inside.exists(LETTERS))
    inside.put(TOPIC, ENTRY, key=b"ann", partition=0)
    call_command("events", "topics", "--check", "--timeout=60", stdout=StringIO())
    told = said("groups", "--json", "--timeout=60")
    lags = {each["group"]: each["lag"] for each in map(json.loads, told.splitlines())}
    assert lags["ward"] == 1
    said("groups", "--reset", "ward", "--to", "latest", "--yes", "--timeout=60")
    assert inside.committed("ward", TOPIC, 0) == 1
    assert "authorization" not in said("status", "--json")
    said("dead-letters", "rebuild")
    with pytest.raises(CommandError, match="1 event failed"):
        said("replay", "--group", "ward", "--handler", "treat", "--topic", TOPIC, "--timeout=60")


def said(*arguments: str) -> str:
    """What this verb of ``manage.py events`` prints."""
    output = StringIO()
    call_command("events", *arguments, stdout=output)
    return output.getvalue()


def grant(inside: Broker, user: str) -> None:
    """Give this user what the page gives it, for the names of this test."""
    for kind, operations in _rights(user):
        inside.grant(f"User:{user}", kind, operations)


def _rights(user: str) -> Iterator[tuple[ResourceType, list[AclOperation]]]:
    for line in PAGE.read_text().splitlines():
        if line.startswith("    kafka-acls.sh"):
            given = _KAFKA_ACLS.parse_args(shlex.split(line)[1:])
            if given.allow_principal == f"User:{user}":
                yield ResourceType.TOPIC if given.topic else ResourceType.GROUP, given.operation


def _operation(name: str) -> AclOperation:
    return AclOperation[re.sub("(?<=[a-z])(?=[A-Z])", "_", name).upper()]


_KAFKA_ACLS = argparse.ArgumentParser("kafka-acls.sh")
for option in ("--bootstrap-server", "--allow-principal", "--resource-pattern-type", "--topic", "--group"):
    _KAFKA_ACLS.add_argument(option)
_KAFKA_ACLS.add_argument("--add", action="store_true")
_KAFKA_ACLS.add_argument("--operation", action="append", type=_operation)
