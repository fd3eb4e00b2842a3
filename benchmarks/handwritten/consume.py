"""Consumers as one would write them by hand: poll many records, handle them, commit the offsets.

Exactly-once: 50 events share a transaction, in which their marks are inserted, then their effects; the threads share
the keys among them. A slow handler has threads with a queue each, among which the keys are dealt out evenly.
"""

import json
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import django
import msgspec
from confluent_kafka import Consumer, KafkaException, Message

from benchmarks.child import Clock

django.setup()

from django.db import connection, connections, transaction  # noqa: E402

from benchmarks.site.models import Effect  # noqa: E402

MOST_THREADS = 4  # more are no faster: they wait for Python's lock
SHARED, BATCH = 50, 100  # events in one transaction
Calls = list[tuple[str, int]]


@dataclass(frozen=True)
class Body:
    """The same body as the product's events have."""

    number: int
    at: float
    padding: str


decode = msgspec.json.Decoder(Body).decode


def run(
    clock: Clock,
    kind: str,
    group: str,
    events: int,
    workers: int,
    handlers: int,
    seconds: float,
    servers: str,
    prefix: str,
) -> dict[str, Any]:
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": prefix + group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "partition.assignment.strategy": "cooperative-sticky",
        }
    )
    calls: list[Calls] = [[] for _ in range(handlers)]
    clock.wait_for_start()
    consumer.subscribe([prefix + "bench.measured"], on_assign=lambda *_: clock.begin())
    if kind == "no-op":
        no_op(consumer, calls, events)
    elif kind == "slow":
        slow(consumer, calls[0], events, workers, seconds)
    else:
        exactly_once(consumer, events, min(workers, MOST_THREADS), SHARED if kind == "insert" else BATCH, kind)
    clock.end()
    with suppress(KafkaException):  # the last commit may have had everything already: then there is no offset to commit
        consumer.commit(asynchronous=False)
    consumer.close()
    return {"seen": calls}


def poll(consumer: Consumer, count: int) -> list[Message]:
    records: list[Message] = consumer.consume(count, timeout=0.1)
    return [record for record in records if record.error() is None]


def no_op(consumer: Consumer, calls: Sequence[Calls], events: int) -> None:
    """The loop of every tutorial: one record at a time, its body decoded by Python's own json."""
    commit_due = time.monotonic() + 1
    done = 0
    while done < events:
        record = consumer.poll(0.1)
        if record is None or record.error():
            continue
        body = json.loads(record.value())
        key = record.key().decode()
        for each in calls:
            each.append((key, body["number"]))
        done += 1
        if time.monotonic() > commit_due:
            consumer.commit(asynchronous=True)
            commit_due = time.monotonic() + 1


def slow(consumer: Consumer, calls: Calls, events: int, workers: int, seconds: float) -> None:
    queues: list[queue.SimpleQueue[Message | None]] = [queue.SimpleQueue() for _ in range(workers)]
    queue_of: dict[bytes, int] = {}

    def work(mine: "queue.SimpleQueue[Message | None]") -> None:
        while (record := mine.get()) is not None:
            body = decode(record.value())
            time.sleep(seconds)
            calls.append((record.key().decode(), body.number))

    threads = [threading.Thread(target=work, args=[each]) for each in queues]
    for thread in threads:
        thread.start()
    taken = 0
    while taken < events:
        for record in poll(consumer, 500):
            number = queue_of.setdefault(record.key(), len(queue_of) % workers)
            queues[number].put(record)
            taken += 1
    for each in queues:
        each.put(None)
    for thread in threads:
        thread.join()


def exactly_once(consumer: Consumer, events: int, threads: int, size: int, kind: str) -> None:
    write: Callable[[list[Body], list[str]], None] = insert_each if kind == "insert" else insert_all
    done = 0
    with ThreadPoolExecutor(threads) as pool:
        while done < events:
            records = poll(consumer, size * threads)
            shares: list[list[Message]] = [[] for _ in range(threads)]
            for record in records:
                shares[hash(record.key()) % threads].append(record)
            done += sum(pool.map(lambda share: handle(share, write), shares))
            if records:
                consumer.commit(asynchronous=True)
        for _ in range(threads):
            pool.submit(connections.close_all)
    connections.close_all()


def handle(records: Sequence[Message], write: Callable[[list[Body], list[str]], None]) -> int:
    """Marks and effects of these records in one transaction; what is marked already is left out."""
    if not records:
        return 0
    ids = [dict(record.headers())["ce_id"].decode() for record in records]
    with transaction.atomic():
        places = ", ".join(["(%s)"] * len(ids))
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO site_handwrittenmark VALUES {places} ON CONFLICT DO NOTHING RETURNING event_id", ids
            )
            new = {id for (id,) in cursor.fetchall()}
        fresh = [record for record, id in zip(records, ids, strict=True) if id in new]
        write([decode(record.value()) for record in fresh], [record.key().decode() for record in fresh])
    return len(records)


def insert_each(bodies: list[Body], keys: list[str]) -> None:
    for body, key in zip(bodies, keys, strict=True):
        Effect.objects.create(key=key, number=body.number)


def insert_all(bodies: list[Body], keys: list[str]) -> None:
    Effect.objects.bulk_create(Effect(key=key, number=body.number) for body, key in zip(bodies, keys, strict=True))
