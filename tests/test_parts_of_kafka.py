"""Parts of Kafka are away: one partition's leader, so many copies that none is acknowledged, one slow copy."""

import os
import re
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ConfigResource, NewTopic, ResourceType
from django.db import transaction

from django_events import Event, Topic, broadcast, broadcasting
from django_events.consuming.broadcast import Broadcast
from django_events.following import reader
from django_events.kafka import config, topics
from django_events.kafka.producer import Producer
from django_events.kafka.record import Record
from django_events.models import OutgoingEvent, WaitingRow
from django_events.producing.courier import Courier, Sending
from django_events.testing import saved_events, sending
from tests.broker import Broker
from tests.fixtures import use_broker
from tests.services import REQUIRED
from tests.services.cluster import KafkaCluster
from tests.services.installing import Unavailable
from tests.services.kafka import brokers_seen_at
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.usefixtures("declarations")]

PATIENT = 150.0
"""Seconds: a round may wait 30 s for Kafka, and so may the next try."""

AWAY = 3
"""The node that dies or freezes."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    # A node that the machine has let stand still loses the lead of its partitions; it gets it back soon.
    properties = {"replica.lag.time.max.ms": 3000, "leader.imbalance.check.interval.seconds": 5}
    cluster = KafkaCluster(tmp_path_factory.mktemp("kafka"), properties=properties)
    try:
        cluster.prepare()
        cluster.start()
        cluster.wait_until_ready()
    except Unavailable as error:
        cluster.stop()
        (pytest.fail if os.environ.get(REQUIRED) else pytest.skip)(f"no three Kafka nodes: {error}")
    yield cluster
    cluster.stop()


@pytest.fixture
def parts(cluster: KafkaCluster, settings: Any) -> Iterator[Broker]:
    """The cluster, with names of the test's own; afterwards it is whole again."""
    broker = Broker(cluster.address, f"t{uuid.uuid4().hex[:10]}.")
    use_broker(settings, broker)
    yield broker
    for node in cluster.nodes.values():
        node.resume()
    cluster.start()
    cluster.wait_until_ready()


@pytest.fixture
def relay(parts: Broker, transactional_db: None) -> Iterator[None]:
    with sending():
        yield


def create(broker: Broker, name: str, copies: list[list[int]], **options: str) -> Topic[dict[str, Any]]:
    """A topic whose partitions are on these nodes, the first of each being its leader."""
    options = {"min.insync.replicas": str(min(2, len(copies[0])))} | options
    new = NewTopic(broker.prefix + name, replica_assignment=copies, num_partitions=len(copies), config=options)

    def is_made() -> bool:
        """A node that the machine has let stand still counts as dead for a moment, and gets no partition."""
        (answer,) = broker.admin.create_topics([new]).values()
        try:
            answer.result()
        except KafkaException as error:
            return bool(error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS)
        return True

    wait_for(is_made)
    wait_for(lambda: leaders(broker, name) == [nodes[0] for nodes in copies])
    return Topic(name, dict[str, Any])


def test_a_topic_that_we_create_has_three_copies_of_which_two_must_take_an_event(parts: Broker) -> None:
    def made_with_all_nodes() -> str:
        """The name of a topic; none where a node that the machine has let stand still counted as dead."""
        name = f"ours-{uuid.uuid4().hex[:10]}"
        Topic(name, dict[str, Any])
        assert topics.create_missing([name], 60) == {name}
        return name if wait_for(lambda: copies(parts, name)) == [3, 3] else ""

    name = wait_for(made_with_all_nodes)
    assert wait_for(lambda: least_copies(parts, name)) == "2"


def copies(broker: Broker, name: str) -> list[int]:
    """How many copies each partition has; nothing while the node that is asked does not know the topic."""
    return [len(each.replicas) for each in broker.partitions(name)]


def least_copies(broker: Broker, name: str) -> str:
    """How many of them must take an event; nothing while the node that is asked does not know the topic."""
    resource = ConfigResource(ResourceType.TOPIC, broker.prefix + name)
    (answer,) = broker.admin.describe_configs([resource]).values()
    try:
        return str(answer.result()["min.insync.replicas"].value)
    except KafkaException:
        return ""


def unread_bytes(address: str) -> int:
    """What connections of a server on this machine have brought, and it has not read (proc(5), /proc/net/tcp)."""
    port = f"{int(address.rpartition(':')[2]):04X}"
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    rows = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    return sum(int(row[4].partition(":")[2], 16) for row in rows if row[1].endswith(f":{port}") and row[3] == "01")


def nothing_more_comes(address: str) -> Callable[[], bool]:
    """A condition: something has come that is not read, and no more of it during 25 looks."""
    seen: list[int] = []

    def look() -> bool:
        seen.append(unread_bytes(address))
        return len(seen) > 25 and seen[-1] > 0 and len(set(seen[-25:])) == 1

    return look


def is_held_back(said: str, topic: str, why: str) -> bool:
    """Whether it was said that the topic is held back for this reason, be it for some seconds by then."""
    return bool(re.search(rf"Topic '{topic}' is held back(?: for \d+ s)?: {re.escape(why)}", said))


def leaders(broker: Broker, name: str) -> list[int]:
    return [partition.leader for partition in broker.partitions(name)]


def send(topic: Topic[dict[str, Any]], numbers: range) -> None:
    """One event for each of 20 keys, and so on."""
    for number in numbers:
        with transaction.atomic():
            topic.send({"number": number}, key=f"key-{number % 20}")


def first_deliveries(broker: Broker, name: str) -> dict[bytes | None, list[int]]:
    found: dict[bytes | None, list[int]] = defaultdict(list)
    for record in broker.read(name):
        if record.payload["number"] not in found[record.key]:
            found[record.key].append(record.payload["number"])
    return found


def all_in_order(broker: Broker, name: str, count: int) -> bool:
    """Whether every event is there, and the first delivery of each key's in order."""
    found = first_deliveries(broker, name)
    return found == {f"key-{key}".encode(): list(range(key, count, 20)) for key in range(20)}


def test_a_topic_with_a_leaderless_partition_is_held_back_while_others_go_on(
    cluster: KafkaCluster, parts: Broker, relay: None, caplog: Any
) -> None:
    spread = create(parts, "spread", [[1], [2], [1], [2], [1], [AWAY], [2], [1]])
    whole = create(parts, "whole", [[1], [2]])
    send(spread, range(20))
    send(whole, range(20))
    wait_for(lambda: not OutgoingEvent.objects.exists())
    cluster.nodes[AWAY].kill()
    wait_for(lambda: -1 in leaders(parts, "spread"))
    send(spread, range(20, 100))
    wait_for(lambda: is_held_back(caplog.text, "spread", "partition 5 has no leader"))
    send(whole, range(20, 100))
    wait_for(lambda: not saved_events("whole"))
    assert saved_events("spread")
    assert not any(row.error for row in saved_events("spread"))
    cluster.nodes[AWAY].restart()
    wait_for(lambda: not OutgoingEvent.objects.exists(), PATIENT)
    assert all_in_order(parts, "spread", 100)
    assert all_in_order(parts, "whole", 100)
    wait_for(lambda: "works again" in caplog.text)


@pytest.mark.long
def test_broadcast_does_without_a_topic_with_a_leaderless_partition_until_that_has_a_leader(
    cluster: KafkaCluster, parts: Broker, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "BROADCAST_HEARTBEAT": 1.0}
    monkeypatch.setattr(reader, "LOOK_EVERY", 0.5)
    heard: list[str] = []

    def hear(event: Event[dict[str, Any]]) -> None:
        heard.append(event.topic)

    for topic in (create(parts, "whole", [[1, 2]]), create(parts, "spread", [[1], [AWAY]])):
        declare: Any = broadcast(topic, name=topic.name)
        declare(hear)
    cluster.nodes[AWAY].kill()
    wait_for(lambda: -1 in leaders(parts, "spread"))
    running = Broadcast(broadcasting.declared())
    running.start()
    try:
        wait_for(lambda: running.is_live("whole"), PATIENT)
        assert not running.is_live("spread")
        parts.put("whole", b"{}", partition=0)
        wait_for(lambda: heard == ["whole"])
        cluster.start()
        cluster.wait_until_ready()
        wait_for(lambda: running.is_live("spread"), PATIENT)
        parts.put("spread", b"{}", partition=1)
        wait_for(lambda: heard == ["whole", "spread"])
        cluster.nodes[AWAY].kill()
        wait_for(lambda: not running.is_live("spread"), PATIENT)
        wait_for(lambda: running.is_live("whole"), PATIENT)
        cluster.start()
        cluster.wait_until_ready()
        wait_for(lambda: running.is_live("spread"), PATIENT)
    finally:
        assert running.stop(60)


def note_what_is_tried(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """A set that gets the topics of all events that are given to a producer."""
    tried: set[str] = set()
    send = Courier.send

    def noting(self: Courier, rows: Sequence[WaitingRow]) -> Sending:
        tried.update(row.topic for row in rows)
        return send(self, rows)

    monkeypatch.setattr(Courier, "send", noting)
    return tried


def test_a_topic_with_too_few_copies_in_sync_is_held_back_while_others_go_on(
    cluster: KafkaCluster, parts: Broker, relay: None, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Kafka says nothing of its events: librdkafka tries them again and again."""
    tried = note_what_is_tried(monkeypatch)
    thin = create(parts, "thin", [[1, AWAY], [2, AWAY]])
    whole = create(parts, "whole", [[1], [2]])
    send(thin, range(20))
    send(whole, range(20))
    wait_for(lambda: not OutgoingEvent.objects.exists())
    cluster.nodes[AWAY].kill()
    send(thin, range(20, 100))
    wait_for(lambda: is_held_back(caplog.text, "thin", "Kafka answers, but not about its events"), PATIENT)
    send(whole, range(20, 100))
    wait_for(lambda: not saved_events("whole"))
    assert saved_events("thin")
    said = "Topic 'whole' is held back"  # for a moment at most, where its leader has stood still
    wait_for(lambda: said not in caplog.text or f"{said}: works again" in caplog.text)
    wait_for(lambda: "partition 0, 1 has fewer than 2 copies in sync (min.insync.replicas)" in caplog.text)
    wait_for(lambda: all(brokers_seen_at(cluster.nodes[node].address) == {1, 2} for node in (1, 2)))  # whoever is asked
    tried.clear()
    send(whole, range(100, 200))
    wait_for(lambda: not saved_events("whole"))
    assert tried == {"whole"}, "one is tried in vain, and the others wait for it"
    cluster.nodes[AWAY].restart()
    wait_for(lambda: not OutgoingEvent.objects.exists(), PATIENT)
    assert all_in_order(parts, "thin", 100)
    assert all_in_order(parts, "whole", 200)


def test_a_lost_quorum_is_waited_out(cluster: KafkaCluster, parts: Broker, relay: None, caplog: Any) -> None:
    topic = create(parts, "copied", [[1, 2, 3], [1, 3, 2]])
    send(topic, range(20))
    wait_for(lambda: not OutgoingEvent.objects.exists())
    cluster.nodes[2].kill()
    cluster.nodes[3].kill()
    send(topic, range(20, 200))
    wait_for(lambda: "Topic 'copied' is held back" in caplog.text or "Sending events to Kafka:" in caplog.text, PATIENT)
    assert OutgoingEvent.objects.exists()
    cluster.start()
    cluster.wait_until_ready()
    wait_for(lambda: not OutgoingEvent.objects.exists(), PATIENT)
    assert all_in_order(parts, "copied", 200)


@pytest.mark.long
def test_a_quorum_that_is_lost_for_a_minute_is_waited_out(
    cluster: KafkaCluster, parts: Broker, relay: None, caplog: Any
) -> None:
    topic = create(parts, "long", [[1, 2, 3], [1, 3, 2]])
    send(topic, range(20))
    wait_for(lambda: not OutgoingEvent.objects.exists())
    cluster.nodes[2].kill()
    cluster.nodes[3].kill()
    end = time.monotonic() + 60.0
    sent = 20
    while time.monotonic() < end:
        send(topic, range(sent, sent + 20))
        sent += 20
        time.sleep(0.5)
    assert OutgoingEvent.objects.count() >= sent - 40, "what was on its way may have been taken"
    cluster.start()
    cluster.wait_until_ready()
    wait_for(lambda: not OutgoingEvent.objects.exists(), PATIENT)
    assert all_in_order(parts, "long", sent)


def test_late_acknowledgements_are_waited_for(cluster: KafkaCluster, parts: Broker, relay: None, caplog: Any) -> None:
    """One of three copies stands still, until the others go on without it after 3 seconds."""
    topic = create(parts, "slow", [[1, 2, AWAY]])
    send(topic, range(1))
    wait_for(lambda: not OutgoingEvent.objects.exists())
    cluster.nodes[AWAY].pause()
    send(topic, range(1, 100))
    wait_for(lambda: not OutgoingEvent.objects.exists(), PATIENT)
    assert all_in_order(parts, "slow", 100)
    was_in_time = "It is tried again until it works" not in caplog.text  # a slow machine's copies may need longer
    assert len(parts.read("slow")) == 100 or not was_in_time, "nothing is sent twice of which the answer came in time"


def test_nothing_overtakes_the_first_batch_of_a_producer_when_it_is_refused(
    cluster: KafkaCluster, parts: Broker
) -> None:
    """The broker does not know the producer yet, so it would take what is on its way behind."""
    create(parts, "small", [[AWAY]], **{"max.message.bytes": "2000"})
    producer = Producer(config.producer_options() | {"batch.num.messages": 4})
    producer.connect(30)  # librdkafka has another batch of a partition on its way while that has less than 5 records
    records = [(n, Record("small", b"key", b"%d" % n + b" " * (3_000 if n == 3 else 1), [])) for n in range(100)]
    cluster.nodes[AWAY].pause()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(producer.send, records, PATIENT)
        wait_for(nothing_more_comes(cluster.nodes[AWAY].address))
        cluster.nodes[AWAY].resume()
        deliveries = sending.result(PATIENT)
    assert 3 in deliveries.row_errors
    wait_for(lambda: leaders(parts, "small") == [AWAY])
    assert [record.payload for record in parts.read("small")] == [0]
    assert deliveries.acknowledged == [0]
