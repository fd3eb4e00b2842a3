"""What a consumer has taken over from librdkafka before it is polled waits, and is forgotten, with its partition."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from confluent_kafka import Message, TopicPartition

from django_events.kafka import clients, consumer
from django_events.kafka.consumer import Consumer
from django_events.kafka.record import Partition

ONE, OTHER = Partition("orders", 1), Partition("orders", 2)


class Client:
    """Of librdkafka, as far as a consumer asks it. Has some messages, and gives them all at once."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = list(messages)
        self.assign: Callable[..., None]
        self.revoke: Callable[..., None]

    def subscribe(self, topics: Sequence[str], *, on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        self.assign, self.revoke = on_assign, on_revoke

    def consume(self, count: int, timeout: float) -> list[Message]:
        found, self._messages = self._messages[:count], self._messages[count:]
        return found

    def incremental_assign(self, partitions: object) -> None: ...
    def pause(self, partitions: object) -> None: ...
    def resume(self, partitions: object) -> None: ...


class Deaf:
    """Hears of changes, and does nothing."""

    def assigned(self, partitions: list[Partition]) -> None: ...
    def revoked(self, partitions: list[Partition]) -> None: ...
    def lost(self, partitions: list[Partition]) -> None: ...


def message(partition: Partition, offset: int) -> Message:
    return Message(
        topic=partition.topic,
        partition=partition.number,
        offset=offset,
        key=None,
        value=b"{}",
        headers=[],
        timestamp=(0, 0),
    )


def places(polling: Consumer) -> Iterator[tuple[Partition, int]]:
    """Where what is polled comes from, until there is nothing."""
    while record := polling.poll(0.0):
        yield record.partition, record.offset


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Client:
    settings.DJANGO_EVENTS = {"SOURCE": "tests", "KAFKA": {"bootstrap.servers": "127.0.0.1:1"}}
    client = Client([message(ONE, 5), message(OTHER, 8), message(ONE, 6), message(OTHER, 9)])
    monkeypatch.setattr(clients, "make", lambda kind, options: client)
    monkeypatch.setattr(consumer, "first_offsets", lambda client, partitions, *_: partitions)
    return client


def test_of_a_paused_partition_it_waits_until_that_goes_on(client: Client) -> None:
    polling = Consumer("sales", ["orders"], Deaf())
    first = polling.poll(0.0)
    assert first and (first.partition, first.offset) == (ONE, 5)
    polling.pause(ONE)
    assert list(places(polling)) == [(OTHER, 8), (OTHER, 9)]
    polling.resume(ONE)
    assert list(places(polling)) == [(ONE, 6)]


@pytest.mark.parametrize("change", ["assign", "revoke"])
def test_of_a_partition_that_changes_hands_it_is_forgotten(client: Client, change: str) -> None:
    """What is assigned is read from the group's offset on, so it comes again."""
    polling = Consumer("sales", ["orders"], Deaf())
    assert polling.poll(0.0)
    getattr(client, change)(client, [TopicPartition("orders", ONE.number, 5)])
    assert list(places(polling)) == [(OTHER, 8), (OTHER, 9)]


def test_a_partition_begins_where_it_was_last_assigned(client: Client) -> None:
    polling = Consumer("sales", ["orders"], Deaf())
    client.assign(client, [TopicPartition("orders", ONE.number, 5), TopicPartition("orders", OTHER.number, -2)])
    assert (polling.begins_at(ONE), polling.begins_at(OTHER)) == (5, None)
    client.assign(client, [TopicPartition("orders", OTHER.number, 8)])
    assert (polling.begins_at(ONE), polling.begins_at(OTHER)) == (5, 8)
