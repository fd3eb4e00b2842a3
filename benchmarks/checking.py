"""Whether a run has left the right data: everything there, once, and in the order of its key."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from confluent_kafka import Consumer, Message, TopicPartition

from benchmarks.place import Place
from benchmarks.site import events
from tests.broker import Broker, Seen

ByKey = Mapping[str, list[int]]

AT_ONCE = 5_000
"""Records that are asked for at once."""


class Body(msgspec.Struct):
    """What is looked at in a body."""

    number: int


_decode = msgspec.json.Decoder(Body).decode


def sent(broker: Broker) -> list[Seen]:
    """The records in the topic of the run, each partition's in its order; none if there is no topic."""
    return broker.read(events.measured.name) if broker.exists(events.measured.name) else []


def numbers_of(records: Iterable[Seen]) -> ByKey:
    """The numbers of each key in the order of these records."""
    return by_key(((record.key or b"").decode(), record.payload["number"]) for record in records)


def numbers_sent(broker: Broker, topics: Sequence[str] = (events.measured.name,)) -> ByKey:
    """The numbers of each key in the order in which they are in Kafka: of millions of records, whose bodies nobody
    could keep. Each key has one topic."""
    records = (record for topic in topics if broker.exists(topic) for record in _records(broker, topic))
    return by_key(((record.key() or b"").decode(), _decode(record.value()).number) for record in records)


def _records(broker: Broker, topic: str) -> Iterator[Message]:
    """The records of a topic to which nobody writes any more, each partition's in its order."""
    name = broker.prefix + topic
    options = {"bootstrap.servers": broker.bootstrap_servers, "group.id": "checking", "enable.auto.commit": False}
    consumer = Consumer(options)
    try:
        numbers = consumer.list_topics(name, timeout=60).topics[name].partitions
        partitions = [TopicPartition(name, number, 0) for number in numbers]
        left = sum(consumer.get_watermark_offsets(partition, timeout=60)[1] for partition in partitions)
        consumer.assign(partitions)
        while left:
            records = consumer.consume(min(left, AT_ONCE), timeout=30)
            assert records, f"{left:,} records of {name} cannot be read"
            for record in records:
                assert record.error() is None, record.error()
                yield record
            left -= len(records)
    finally:
        consumer.close()


def by_key(pairs: Iterable[tuple[str, int]]) -> ByKey:
    """The numbers of each key, in the order given."""
    found: dict[str, list[int]] = {}
    for key, number in pairs:
        found.setdefault(key, []).append(number)
    return found


def effects(place: Place) -> ByKey:
    """The numbers of each key in the order in which their effects were written."""
    with place.connect() as connection:
        return by_key(connection.execute("SELECT key, number FROM site_effect ORDER BY id").fetchall())


def rows_left(place: Place, table: str = "django_events_outgoingevent") -> int:
    """How many rows the table has."""
    with place.connect() as connection:
        ((count,),) = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
    return int(count)


def differences(what: str, found: ByKey, expected: ByKey) -> list[str]:
    """What is missing, doubled or out of order, one sentence each, for the first key with such a fault."""
    problems = []
    if extra := sorted(found.keys() - expected.keys()):
        problems.append(f"{what}: there is the key {extra[0]!r}, which nobody made")
    for fault in (_missing, _doubled, _out_of_order):
        keys = [key for key, numbers in expected.items() if fault(found.get(key, []), numbers)]
        if keys:
            problems.append(
                f"{what}: {fault.__name__[1:].replace('_', ' ')} in {len(keys):,} keys, such as {keys[0]!r}: "
                f"{found.get(keys[0], [])[:20]} instead of {expected[keys[0]][:20]}"
            )
    return problems


def _missing(found: list[int], expected: list[int]) -> bool:
    return not set(expected) <= set(found)


def _doubled(found: list[int], expected: list[int]) -> bool:
    return len(found) > len(set(found))


def _out_of_order(found: list[int], expected: list[int]) -> bool:
    return found != sorted(found)
