"""Asks the servers for the plainest of what the product needs, again and again, and notes when they could not do it. So
nobody takes for the product's what Kafka, the database or the machine did by themselves.

usage: python -m tests.chaos.plain_client SERVERS TOPIC DATABASE_URL
"""

import signal
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from types import FrameType

import psycopg
from confluent_kafka import KafkaError, Message, Producer

from tests.chaos.facts import DATABASE, FALTERING, KAFKA, Fault
from tests.chaos.history import note
from tests.chaos.standstills import watch_the_clock
from tests.services.cluster import NODES

PAUSE = 0.2
"""Seconds between two questions."""

LONG = 1.0
"""Seconds that an answer may take; where nothing is broken it takes a few hundredths."""

BOTH_ANSWER = "both answer"
"""What the process says when it begins to look at the time."""


def main(arguments: Sequence[str]) -> int:
    servers, topic, database_url = arguments
    stop = threading.Event()
    signal.signal(signal.SIGTERM, partial(_stop, stop))
    asking = threading.Thread(target=_ask_database, args=(database_url, stop), daemon=True)
    asking.start()
    kafka = AskingKafka(servers, topic)
    kafka.warm_up()
    watch_the_clock()
    sys.stdout.write(f"{BOTH_ANSWER}\n")
    sys.stdout.flush()
    while not stop.is_set() and asking.is_alive():
        kafka.ask(PAUSE)
    kafka.end()
    return 0 if stop.is_set() else 1


class AskingKafka:
    """Sends records that every node has to copy, one after the other to each partition of a topic."""

    def __init__(self, servers: str, topic: str) -> None:
        options = {"bootstrap.servers": servers, "acks": "all", "message.timeout.ms": 0, "log_level": 0}
        self._producer = Producer(options)
        self._topic = topic
        self._asked: dict[int, float] = {}
        """When the record was sent that a partition has not acknowledged yet."""

    def warm_up(self) -> None:
        """Whatever the first answers take."""
        for number in range(len(NODES)):
            self._producer.produce(self._topic, b"", partition=number)
        self._producer.flush()

    def ask(self, seconds: float) -> None:
        """Send where all is acknowledged, and hear of acknowledgements for so long."""
        for number in {*range(len(NODES))} - self._asked.keys():
            self._asked[number] = time.time()
            self._producer.produce(self._topic, b"", partition=number, on_delivery=self._hear)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._producer.poll(left)

    def end(self) -> None:
        """Note also what was never acknowledged."""
        for number in [*self._asked]:
            self._note(number)

    def _hear(self, _error: KafkaError | None, message: Message) -> None:
        number = message.partition()
        assert number is not None
        self._note(number)

    def _note(self, number: int) -> None:
        _note_if_long(KAFKA, f"a record for partition {number}", self._asked.pop(number))


def _ask_database(url: str, stop: threading.Event) -> None:
    """Commit, by a connection that is made anew where there is none."""
    connection: psycopg.Connection | None = None
    while not stop.is_set():
        asked = time.time()
        while not stop.is_set():
            try:
                connection = connection or psycopg.connect(url, autocommit=True, connect_timeout=2)
                connection.execute("SELECT pg_logical_emit_message(true, 'plain client', '')")
                break
            except psycopg.Error:
                connection = None
                stop.wait(PAUSE)
        _note_if_long(DATABASE, "a commit", asked)
        stop.wait(PAUSE)


def _note_if_long(server: str, what: str, asked: float) -> None:
    if (now := time.time()) - asked > LONG:
        note(Fault(at=asked, kind=FALTERING, hits=(server,), until=now, about=what))


def _stop(stop: threading.Event, _number: int, _frame: FrameType | None) -> None:
    stop.set()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
