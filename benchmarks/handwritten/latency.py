"""A site that commits rows at a steady pace and wakes a thread after each commit, which sends them. psycopg only."""

import threading
import time
import uuid
import zlib
from typing import Any

import msgspec
import psycopg

from benchmarks.child import Clock
from benchmarks.counters import OWN_LOOK
from benchmarks.handwritten.drain import LANES, make_producer, send_round
from benchmarks.pace import at_pace

TOPIC = "bench.measured"
INSERT_EFFECT = "INSERT INTO site_effect (key, number) VALUES (%s, %s)"
INSERT_ROW = """
    INSERT INTO django_events_outgoingevent (topic, lane, event_id, key, value, headers) VALUES (%s, %s, %s, %s, %s, %s)
"""
INSERT_LANES = """
    INSERT INTO django_events_lane (topic, number) SELECT %s, generate_series(0, %s) ON CONFLICT DO NOTHING
"""
PADDING = "x" * 214


class Waker(threading.Thread):
    """Sends what waits whenever it is woken."""

    def __init__(self, database: str, servers: str, prefix: str) -> None:
        super().__init__(daemon=True)
        self._database, self._servers, self._prefix = database, servers, prefix
        self._woken = threading.Event()
        self._ended = False

    def wake(self) -> None:
        self._woken.set()

    def end(self) -> None:
        self._ended = True
        self._woken.set()
        self.join()

    def run(self) -> None:
        producer = make_producer(self._servers)
        with psycopg.connect(self._database) as connection:
            while not self._ended:
                self._woken.wait()
                self._woken.clear()
                while send_round(connection, producer, self._prefix):
                    pass


def run(
    clock: Clock, rate: float, events: int, threads: int, database: str, servers: str, prefix: str, by_thread: bool
) -> dict[str, Any]:
    committed: dict[str, float] = {}
    connections = [psycopg.connect(database) for _ in range(threads)]
    connections[0].execute(INSERT_LANES, [TOPIC, LANES - 1])
    connections[0].commit()
    waker = Waker(database, servers, prefix) if by_thread else None

    def commit(thread: int, number: int) -> None:
        id = str(uuid.uuid4())
        with connections[thread].transaction():
            write(connections[thread], f"key-{thread}", number, id)
        committed[id] = time.time()
        if waker:
            waker.wake()

    clock.wait_for_start()
    if waker:
        waker.start()
    at_pace(rate, events, threads, commit, lambda: None)
    seconds = time.monotonic() - clock.began
    wait_until_empty(connections[0])
    clock.end()
    if waker:
        waker.end()
    for connection in connections:
        connection.close()
    return {"committed": committed, "commits_per_second": events / seconds}


def write(connection: "psycopg.Connection[tuple[Any, ...]]", key: str, number: int, id: str) -> None:
    """The change, and the row that tells of it."""
    value = msgspec.json.encode({"number": number, "at": time.time(), "padding": PADDING})
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", id.encode()),
        ("ce_source", b"bench"),
        ("ce_type", TOPIC.encode()),
        ("ce_subject", key.encode()),
        ("content-type", b"application/json"),
    ]
    connection.execute(INSERT_EFFECT, [key, number])
    lane = zlib.crc32(key.encode()) % LANES
    connection.execute(INSERT_ROW, [TOPIC, lane, id, key.encode(), value, msgspec.msgpack.encode(headers)])


def wait_until_empty(connection: "psycopg.Connection[tuple[Any, ...]]", timeout: float = 120.0) -> None:
    """Return when nothing waits any more."""
    connection.autocommit = True
    deadline = time.monotonic() + timeout
    look = f"SELECT EXISTS (SELECT FROM django_events_outgoingevent) AS {OWN_LOOK}"
    while connection.execute(look).fetchone() != (False,):
        assert time.monotonic() < deadline, f"events still wait after {timeout:g} s"
        time.sleep(0.02)
