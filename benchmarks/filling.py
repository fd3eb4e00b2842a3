"""Fills outboxes and topics with events, fast: the rows and records are the product's own, the way to the table not."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import psycopg
from confluent_kafka import Producer

from benchmarks.site import events
from django_events.cloudevents import encode
from django_events.kafka.record import Record
from tests.broker import Broker


@dataclass(frozen=True)
class Load:
    """So many events of so many keys; each key's numbers count up from 0."""

    events: int
    keys: int = 1_000
    size: int = 256
    """Bytes of a body, about."""
    topics: int = 1
    """Among which the keys are dealt out; their number is a multiple of it."""

    @property
    def names(self) -> list[str]:
        """Of the topics."""
        name = events.measured.name
        return [f"{name}-{number}" for number in range(self.topics)] if self.topics > 1 else [name]

    def expected(self) -> dict[str, list[int]]:
        """The numbers of each key, in their order."""
        found: dict[str, list[int]] = {}
        for at in range(self.events):
            found.setdefault(f"key-{at % self.keys}", []).append(at // self.keys)
        return found


COPY = "COPY django_events_outgoingevent (topic, lane, event_id, key, value, headers) FROM STDIN (FORMAT binary)"
TYPES = ("varchar", "int2", "text", "bytea", "bytea", "bytea")


def _made(load: Load) -> Iterator[tuple[str, Record]]:
    padding = events.padding(load.size)
    for at in range(load.events):
        payload = events.Measured(at // load.keys, 0.0, padding)
        event = events.measured.event(payload, key=f"key-{at % load.keys}")
        yield event.id, encode(event)


def fill_outbox(database: str, load: Load) -> None:
    """Rows in the outbox, as ``send`` writes them."""
    from django_events.models.outbox import Lane, lane_of

    with psycopg.connect(database) as connection, connection.cursor() as cursor:
        names = load.names
        cursor.execute(
            f"INSERT INTO {Lane._meta.db_table} (topic, number) SELECT unnest(%s::varchar[]), number "
            "FROM generate_series(0, 15) number ON CONFLICT DO NOTHING",
            [names],
        )
        with cursor.copy(COPY) as copy:
            copy.set_types(TYPES)
            for at, (id, record) in enumerate(_made(load)):
                topic = names[at % load.topics]
                lane = lane_of(topic, record.key, id).number
                copy.write_row((topic, lane, id, record.key, record.value, msgspec.msgpack.encode(record.headers)))


def fill_topic(broker: Broker, load: Load, partitions: int) -> None:
    """A topic with records, as the outbox sends them."""
    broker.create(events.measured.name, partitions)
    send_records(broker, load)


def send_records(broker: Broker, load: Load) -> None:
    """Records of the topic, which is there."""
    producer = Producer(
        {
            "bootstrap.servers": broker.bootstrap_servers,
            "linger.ms": 20,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
        }
    )
    name = broker.prefix + events.measured.name
    for _, record in _made(load):
        while True:
            try:
                producer.produce(name, record.value, record.key, headers=record.headers)
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(120) == 0
