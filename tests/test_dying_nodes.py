"""Readers of broadcast events ask about topics again and again, in web processes: nodes that die meanwhile must not end
them. Some calls of librdkafka's admin client do that, as an assertion of its own fails."""

import random
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker import Broker
from tests.fixtures import make_site
from tests.processes import Process
from tests.services.cluster import KafkaCluster
from tests.services.proxy import Condition, Link, Proxy
from tests.waiting import wait_for

pytestmark = [pytest.mark.long, pytest.mark.kafka, pytest.mark.postgres]

LOOKS = """
from django_events.exceptions import BrokerUnavailable, KafkaRefused
from django_events.kafka.following import Follower
from django_events.kafka.record import Partition

answered = unanswered = 0
while answered < 1000:
    follower = Follower("The reader")
    for _ in range(100):
        try:
            found = follower.look(["asked", "nowhere"])
            follower.ends([Partition("asked", number) for number in range(6)])
            assert len(found["asked"].partitions) == 6
        except (BrokerUnavailable, KafkaRefused):
            unanswered += 1
        else:
            answered += 1
    follower.close()
    print("answered", answered, "of", answered + unanswered, flush=True)
print("all answered", flush=True)
"""


class Nodes:
    """Three nodes, and what is between each of them and the process that asks."""

    def __init__(self, folder: Path) -> None:
        self._proxy = Proxy()
        self.links: list[Link] = []
        self.cluster = KafkaCluster(folder, ["reader"], open_door=self._open)

    def start(self) -> None:
        self.cluster.prepare()
        self.cluster.start()
        self.cluster.wait_until_ready(300)

    def stop(self) -> None:
        self.cluster.stop()
        self._proxy.close()

    def _open(self, _client: str, _node: int, port: int) -> int:
        self.links.append(self._proxy.link(port))
        return self.links[-1].port


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    found = Nodes(tmp_path / "kafka")
    try:
        found.start()
        yield found
    finally:
        found.stop()


def test_looking_at_topics_survives_nodes_that_die(nodes: Nodes, transactional_db: None, tmp_path: Path) -> None:
    """As a client sees it: connections end, or nothing comes any more; and once a node is really killed."""
    prefix = f"t{uuid.uuid4().hex[:10]}."
    Broker(nodes.cluster.address, prefix).create("asked", partitions=6)
    site = make_site(Broker(nodes.cluster.address_for("reader"), prefix), tmp_path)
    process = site.start("shell", "-v0", "-c", LOOKS)
    try:
        process.says("answered")
        killed = nodes.cluster.nodes[2]
        killed.kill()
        disturb_until(process, "answered 5", nodes)
        nodes.cluster.start()
        disturb_until(process, "all answered", nodes)
        process.succeeds()
    finally:
        site.end()


def disturb_until(process: Process, text: str, nodes: Nodes) -> None:
    """Cut and stall connections, one node's after the other's, until the process says this."""
    chance = random.Random(1)

    def disturb() -> bool:
        link = chance.choice(nodes.links)
        for condition in (chance.choice([Condition.CUT, Condition.CUT, Condition.STALLED]), Condition.OPEN):
            link.become(condition)
            time.sleep(chance.choice([0.02, 0.2, 0.5]))
        return text in process.output or not process.running()

    wait_for(disturb, timeout=600)
    assert text in process.output, process.output[-3000:]
