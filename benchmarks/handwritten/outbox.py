"""The outbox as the yard-sticks use it: the rows that they write, and a thread that is woken to send them."""

import threading
import time
import zlib
from typing import Any

import msgspec
import psycopg

from benchmarks.counters import own_look
from benchmarks.handwritten.drain import LANES, ROWS, connect, make_producer, send_round

TOPIC = "bench.measured"
INSERT_ROW = """
    INSERT INTO django_events_outgoingevent (topic, lane, event_id, key, value, headers) VALUES (%s, %s, %s, %s, %s, %s)
"""
INSERT_LANES = """
    INSERT INTO django_events_lane (topic, number) SELECT %s, generate_series(0, %s) ON CONFLICT DO NOTHING
"""
PADDING = "x" * 214


def add_lanes(database: str) -> None:
    """The lanes of the topic; they are there once and for all."""
    with psycopg.connect(database) as connection:
        connection.execute(INSERT_LANES, [TOPIC, LANES - 1])


def row(key: str, number: int, id: str) -> list[Any]:
    """What INSERT_ROW takes: an event with the same body and headers as the product's."""
    value = msgspec.json.encode({"number": number, "at": time.time(), "padding": PADDING})
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", id.encode()),
        ("ce_source", b"bench"),
        ("ce_type", TOPIC.encode()),
        ("ce_subject", key.encode()),
        ("content-type", b"application/json"),
    ]
    lane = zlib.crc32(key.encode()) % LANES
    return [TOPIC, lane, id, key.encode(), value, msgspec.msgpack.encode(headers)]


class Waker(threading.Thread):
    """Sends what waits whenever it is woken. It begins, and connects, when it is woken first: as the product's."""

    def __init__(self, database: str, servers: str, prefix: str) -> None:
        super().__init__(daemon=True)
        self._database, self._servers, self._prefix = database, servers, prefix
        self._beginning = threading.Lock()
        self._woken = threading.Event()
        self._ended = False

    def wake(self) -> None:
        """Call it after a commit; threads may do so side by side."""
        self._woken.set()
        if self.ident is None:
            with self._beginning:
                if self.ident is None:
                    self.start()

    def end(self) -> None:
        self._ended = True
        self._woken.set()
        self.join()

    def run(self) -> None:
        producer = make_producer(self._servers)
        with connect(self._database) as connection:
            while not self._ended:
                self._woken.wait()
                self._woken.clear()
                while send_round(connection, producer, self._prefix) >= ROWS // LANES:
                    pass  # a lane may have had more than its share of the round


def wait_until_empty(connection: "psycopg.Connection[tuple[Any, ...]]", timeout: float = 120.0) -> None:
    """Return when nothing waits any more."""
    connection.autocommit = True
    deadline = time.monotonic() + timeout
    look = own_look("SELECT EXISTS (SELECT FROM django_events_outgoingevent)")
    while connection.execute(look).fetchone() != (False,):
        assert time.monotonic() < deadline, f"events still wait after {timeout:g} s"
        time.sleep(0.02)
