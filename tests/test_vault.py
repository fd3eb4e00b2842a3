"""A function of the site that is to give a password, and raises when consumers start, is waited out like an outage."""

import threading
from typing import Any

import pytest

from django_events import ConsumerGroup, Event, OnFailure, Service, Topic
from django_events.consuming.letter_reader import LetterReader
from tests.refusing_kafka import RefusingKafka
from tests.services.credentials import Vault
from tests.waiting import wait_for

Payload = dict[str, Any]


@pytest.fixture
def vault(refusing_kafka: RefusingKafka, settings: Any) -> Vault:
    """What gives each client an option. This Kafka knows no passwords; a function may give any other value, too."""
    refusing_kafka.create("orders")
    vault = Vault("sales")
    kafka = {**settings.DJANGO_EVENTS["KAFKA"], "client.id": vault}
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA": kafka}
    return vault


def sales(on_failure: OnFailure = OnFailure.DISCARD) -> ConsumerGroup:
    group = ConsumerGroup("sales")

    @group.idempotent(Topic("orders", Payload), on_failure=on_failure)
    def bill(event: Event[Payload]) -> None: ...

    return group


def test_a_group_waits_says_why_once_and_begins(vault: Vault) -> None:
    said: list[str] = []
    service = Service([sales()], broadcast=[], on_change=said.append)
    service.begin()
    try:
        wait_for(lambda: vault.asked > 4)
        assert service.is_healthy, "to start the process again would not help"
        assert [line for line in said if "waiting for Kafka" in line] == [
            "sales: waiting for Kafka. The function for 'client.id' in settings.DJANGO_EVENTS['KAFKA'] raised "
            "ConnectionError: the vault is away"
        ]
        vault.is_open = True
        wait_for(lambda: any("got orders[0]" in line for line in said))
    finally:
        assert service.stop(120)


def test_a_group_that_waits_can_be_stopped(vault: Vault) -> None:
    service = Service([sales()], broadcast=[])
    service.begin()
    wait_for(lambda: vault.asked > 4)
    assert service.stop(120)
    assert service._groups[0].error is None


def test_the_reader_of_dead_letters_waits_and_says_why_once(vault: Vault, caplog: pytest.LogCaptureFixture) -> None:
    prepared = threading.Event()
    prepared.set()
    reader = LetterReader(sales(OnFailure.SAVE), prepared)
    reader.start()
    try:
        wait_for(lambda: vault.asked > 1)
        vault.is_open = True
        wait_for(lambda: "Reading the dead letters of group sales: works again" in caplog.text)
    finally:
        reader.stop(0)
        reader.join(60)
    assert reader.error is None
    assert caplog.text.count("raised ConnectionError: the vault is away. It is tried again until it works") == 1
