"""Kafka nodes (KRaft: broker and controller in one process), and the one that is a cluster by itself."""

import base64
import logging
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.services.installing import Unavailable, find, kafka_jars
from tests.services.server import Server, free_ports

STARTS_SOON = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""Options of Java's for a process that lives for minutes: its start takes two fifths less of the processor's time."""

SAYS_ERRORS = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"
"""So that a node that ends by itself has said why."""


class KafkaNode(Server):
    """Apache Kafka from Maven Central on 127.0.0.1: one node of the cluster that its properties describe."""

    name = "Kafka"

    def __init__(
        self, folder: Path, address: str, cluster_id: str, heap: str, java_options: Sequence[str] = STARTS_SOON
    ) -> None:
        super().__init__(folder)
        self._java_options = java_options
        self.address = address
        self._cluster_id = cluster_id
        self._heap = heap

    def properties(self) -> Mapping[str, object]:
        """What is special to this node; it adds to what all have."""
        raise NotImplementedError

    def credentials(self) -> list[str]:
        """Options of the storage's formatting, with the passwords that Kafka keeps there."""
        return []

    def prepare(self) -> None:
        self._jars = kafka_jars()
        self.folder.mkdir(parents=True)
        properties = {**_OF_ALL_NODES, "log.dirs": self.folder / "data", **self.properties()}
        text = "".join(f"{name}={value}\n" for name, value in properties.items())
        (self.folder / "server.properties").write_text(text)
        tool = self._java(
            *STARTS_SOON,
            SAYS_ERRORS,
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={self._cluster_id}",
            *("-c", "server.properties"),
            *self.credentials(),
        )
        done = subprocess.run(tool, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise Unavailable(f"Kafka's storage could not be formatted:\n{done.stdout.strip()[-2000:]}")

    def command(self) -> list[str]:
        heap = (f"-Xms{self._heap}", f"-Xmx{self._heap}")
        return self._java(*self._java_options, *heap, SAYS_ERRORS, "kafka.Kafka", "server.properties")

    def is_ready(self) -> bool:
        return bool(brokers_seen_at(self.address))

    def _java(self, *arguments: str) -> list[str]:
        return [find("java", "openjdk-17-jre-headless"), "-cp", f"{self._jars}/*", *arguments]


class KafkaServer(KafkaNode):
    """A cluster of one node on free ports."""

    def __init__(self, folder: Path, *, is_measured: bool = False, is_killed: bool = False) -> None:
        """``is_measured``: what it takes counts, so it runs as others run it, and not so that it starts soon.
        ``is_killed``: somebody kills it, and then it is to be let in again soon."""
        self._session = 1500 if is_killed else 60_000
        port, self._controller_port = free_ports(2)
        options = () if is_measured else STARTS_SOON
        super().__init__(folder, f"127.0.0.1:{port}", new_cluster_id(), heap="512m", java_options=options)

    def properties(self) -> Mapping[str, object]:
        return {
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "true",
            # Until this is over, a node that was killed is not let in again; but one that the machine has let stand
            # still for so long loses the lead of all partitions for a moment.
            "broker.session.timeout.ms": self._session,
            "broker.heartbeat.interval.ms": 300,
        }


def new_cluster_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def brokers_seen_at(address: str) -> frozenset[int]:
    """The numbers of the brokers that this address tells of; none if it does not answer."""
    options = {"bootstrap.servers": address, "log_level": 0, "reconnect.backoff.max.ms": 100}  # it may only be starting
    client = AdminClient(options, logger=_SILENT)
    try:
        return frozenset(client.list_topics(timeout=2.0).brokers)
    except KafkaException:
        return frozenset()


_OF_ALL_NODES: Mapping[str, object] = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": 4,
    # A killed consumer's partitions are free soon, and nobody waits for others that may join a group.
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1000,
    # With group.protocol=consumer it is the broker that says so.
    "group.consumer.min.session.timeout.ms": 1000,
    "group.consumer.session.timeout.ms": 3000,
    "group.consumer.max.session.timeout.ms": 600_000,
    "group.consumer.min.heartbeat.interval.ms": 100,
    "group.consumer.heartbeat.interval.ms": 500,
}

_SILENT = logging.Logger("tests.services.kafka")
_SILENT.addHandler(logging.NullHandler())
