"""A Kafka and a database that need nothing installed: librdkafka's mock cluster, and SQLite in a folder of its own.

Good for trying things out; the mock cluster forgets everything when its process ends, and proves nothing about Kafka.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Producer

from django_events import handlers, topics
from django_events.kafka import names


@contextmanager
def environment(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of the demo's processes; what the caller's environment names is left as it is."""
    prefix = f"demo-{uuid.uuid4().hex[:8]}."
    found = {"EVENTS_PREFIX": prefix, "DEMO_JOURNAL": str(folder / "journal")}
    found.setdefault("DATABASE_URL", os.environ.get("DATABASE_URL") or f"sqlite:///{folder / 'demo.sqlite3'}")
    if os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield found
        return
    host = Producer({"bootstrap.servers": "replaced by the mock cluster", "test.mock.num.brokers": 1, "log_level": 3})
    for topic in _topics():
        host.list_topics(prefix + topic, timeout=10)  # a consumer that comes before its topic waits long for it
    brokers = host.list_topics(timeout=10).brokers.values()
    yield {
        **found,
        "KAFKA_BOOTSTRAP_SERVERS": ",".join(f"{broker.host}:{broker.port}" for broker in brokers),
        "AUTO_CREATE_TOPICS": "false",  # the mock cluster makes topics by itself and cannot be asked to
        # It answers a waiting fetch late, and is asked for its topics only once.
        "KAFKA_CONSUMER": '{"fetch.wait.max.ms": 10, "topic.metadata.refresh.interval.ms": 300000}',
    }
    host.flush(0)  # keeps the cluster alive up to here


def _topics() -> list[str]:
    found = [topic.name for topic in topics.declared()]
    found += [names.dead_letter_topic(topic, group.name) for group in handlers.declared() for topic in group.topics]
    return found
