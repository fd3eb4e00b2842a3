"""One Kafka node (KRaft: broker and controller in one process)."""

import base64
import subprocess
import uuid
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.services.installing import Unavailable, find, kafka_jars
from tests.services.server import Server, free_ports


class KafkaServer(Server):
    """Apache Kafka from Maven Central on free ports of 127.0.0.1."""

    name = "Kafka"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        port, self._controller_port = free_ports(2)
        self.address = f"127.0.0.1:{port}"

    def prepare(self) -> None:
        self._jars = kafka_jars()
        self.folder.mkdir(parents=True)
        (self.folder / "server.properties").write_text(self._properties())
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        tool = self._java("kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", "server.properties")
        done = subprocess.run(tool, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise Unavailable(f"Kafka's storage could not be formatted:\n{done.stdout.strip()[-2000:]}")

    def command(self) -> list[str]:
        return self._java("-Xms512m", "-Xmx512m", "kafka.Kafka", "server.properties")

    def is_ready(self) -> bool:
        client = AdminClient({"bootstrap.servers": self.address, "log_level": 0}, logger=_SILENT)
        try:
            return bool(client.list_topics(timeout=0.5).brokers)
        except KafkaException:
            return False

    def _java(self, *arguments: str) -> list[str]:
        return [find("java", "openjdk-17-jre-headless"), "-cp", f"{self._jars}/*", *arguments]

    def _properties(self) -> str:
        return f"""
            process.roles=broker,controller
            node.id=1
            controller.quorum.voters=1@127.0.0.1:{self._controller_port}
            listeners=PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{self._controller_port}
            advertised.listeners=PLAINTEXT://{self.address}
            controller.listener.names=CONTROLLER
            listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
            log.dirs={self.folder}/data
            auto.create.topics.enable=false
            authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
            allow.everyone.if.no.acl.found=true
            offsets.topic.replication.factor=1
            offsets.topic.num.partitions=4
            transaction.state.log.replication.factor=1
            transaction.state.log.min.isr=1
            # A killed consumer's partitions are free soon, and nobody waits for others that may join a group.
            group.initial.rebalance.delay.ms=0
            group.min.session.timeout.ms=1000
            # A node that was killed is let in again soon.
            broker.session.timeout.ms=1500
            broker.heartbeat.interval.ms=300
        """


def _silent_logger() -> object:
    import logging

    logger = logging.Logger("tests.services.kafka")
    logger.addHandler(logging.NullHandler())
    return logger


_SILENT = _silent_logger()
