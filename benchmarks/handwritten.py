"""The loop that one would write by hand: sends the rows of the outbox in order, and does nothing else.

It locks free lanes, reads the oldest rows, produces all, waits, deletes them by id, commits. The same key, body and
headers as the product's, from the same tables; but no outage, no refused row and no missing topic would it survive.
"""

from typing import Any

import msgspec
import psycopg
from confluent_kafka import Producer

ROWS = 1_000

LOCK = """
    SELECT topic, number FROM django_events_lane l
    WHERE EXISTS (SELECT FROM django_events_outgoingevent o WHERE o.topic = l.topic AND o.lane = l.number)
    FOR UPDATE SKIP LOCKED
"""
READ = """
    SELECT o.id, o.topic, o.key, o.value, o.headers
    FROM unnest(%s::varchar[], %s::smallint[]) AS l (topic, lane) CROSS JOIN LATERAL (
        SELECT * FROM django_events_outgoingevent WHERE topic = l.topic AND lane = l.lane ORDER BY id LIMIT %s
    ) o ORDER BY o.id
"""
DELETE = "DELETE FROM django_events_outgoingevent WHERE id = ANY(%s)"
PLANS = (
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off; "
    "SET LOCAL jit = off"
)


def drain(database_url: str, servers: str, prefix: str) -> int:
    """Send everything that waits; the number of rows."""
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 5,
            "partitioner": "murmur2_random",
        }
    )
    sent = 0
    with psycopg.connect(database_url) as connection:
        while count := _round(connection, producer, prefix):
            sent += count
    return sent


def _round(connection: "psycopg.Connection[tuple[Any, ...]]", producer: Producer, prefix: str) -> int:
    decode = msgspec.msgpack.Decoder(list[tuple[str, bytes | None]]).decode
    with connection.transaction(), connection.cursor(binary=True) as cursor:
        connection.execute(PLANS)
        lanes = cursor.execute(LOCK).fetchall()
        if not lanes:
            return 0
        topics, numbers = zip(*lanes, strict=True)
        rows = cursor.execute(READ, [list(topics), list(numbers), ROWS // len(lanes)]).fetchall()
        for id, topic, key, value, headers in rows:
            producer.produce(prefix + topic, value, key, headers=[*decode(headers), ("ce_sequence", b"%019d" % id)])
        assert producer.flush(60) == 0
        cursor.execute(DELETE, [[row[0] for row in rows]])
    return len(rows)
