"""Sends the rows of the outbox in their order, and does nothing else.

It locks free lanes, reads the oldest rows, produces all, waits, deletes them by id, commits. The same key, body and
headers as the product's, from the same tables.
"""

from typing import Any

import msgspec
import psycopg
from confluent_kafka import Producer

from benchmarks.child import Clock

ROWS = 1_000
LANES = 16

LOCK = """
    SELECT topic, number FROM django_events_lane l
    WHERE EXISTS (SELECT FROM django_events_outgoingevent o WHERE o.topic = l.topic AND o.lane = l.number)
    LIMIT %s FOR UPDATE SKIP LOCKED
"""
READ = """
    SELECT o.id, o.topic, o.key, o.value, o.headers
    FROM unnest(%s::varchar[], %s::smallint[]) AS l (topic, lane) CROSS JOIN LATERAL (
        SELECT * FROM django_events_outgoingevent WHERE topic = l.topic AND lane = l.lane ORDER BY id LIMIT %s
    ) o ORDER BY o.id
"""
DELETE = "DELETE FROM django_events_outgoingevent WHERE id = ANY(%s)"
PLANS = "-c enable_seqscan=off -c enable_sort=off -c enable_bitmapscan=off -c jit=off"
"""Options of a connection: PostgreSQL has no statistics yet of a table that has just been filled."""


Connection = psycopg.Connection[tuple[Any, ...]]


def run(clock: Clock, database: str, servers: str, prefix: str, processes: int) -> dict[str, Any]:
    """Send everything that waits; several processes share the lanes."""
    lanes = LANES // processes
    with connect(database) as connection:
        producer = make_producer(servers)
        clock.wait_for_start()
        sent = 0
        while count := send_round(connection, producer, prefix, lanes):
            sent += count
        clock.end()
    return {"sent": sent}


def connect(database: str) -> Connection:
    """A connection on which rows are read along their index."""
    return psycopg.connect(database, options=PLANS)


def make_producer(servers: str) -> Producer:
    """A producer that Kafka has answered."""
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 5,
            "partitioner": "murmur2_random",
        }
    )
    producer.list_topics(timeout=10)
    return producer


def send_round(connection: Connection, producer: Producer, prefix: str, lanes: int = LANES) -> int:
    """Send the oldest rows of the lanes that nobody holds; their number."""
    decode = msgspec.msgpack.Decoder(list[tuple[str, bytes | None]]).decode
    with connection.transaction(), connection.cursor(binary=True) as cursor:
        locked = cursor.execute(LOCK, [lanes]).fetchall()
        if not locked:
            return 0
        topics, numbers = zip(*locked, strict=True)
        rows = cursor.execute(READ, [list(topics), list(numbers), ROWS // len(locked)]).fetchall()
        for id, topic, key, value, headers in rows:
            producer.produce(prefix + topic, value, key, headers=[*decode(headers), ("ce_sequence", b"%019d" % id)])
        assert producer.flush(60) == 0
        cursor.execute(DELETE, [[row[0] for row in rows]])
    return len(rows)
