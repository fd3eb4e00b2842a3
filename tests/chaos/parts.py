"""What all runs share: a Kafka of three nodes, a PostgreSQL, and a proxy in front of both for each actor."""

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import combinations
from pathlib import Path

import psycopg

from tests.chaos.databases import execute
from tests.processes import Process
from tests.services.cluster import NODES, KafkaCluster
from tests.services.owners import owner_of
from tests.services.postgres import PostgresServer
from tests.services.proxy import Condition, Link, Proxy

TEMPLATE = "chaos_template"

SERVERS = ("database", *(f"kafka-{node}" for node in NODES))

SESSION = '{"session.timeout.ms": 6000, "heartbeat.interval.ms": 500}'
"""For consumers: a killed one's partitions are given to others after this."""


class Parts:
    """Start them in the main thread, and ``stop`` them."""

    def __init__(self, folder: Path, clients: Sequence[str]) -> None:
        self._proxy = Proxy()
        self.links: dict[tuple[str, str], Link] = {}
        """By client and server: ``kafka-<node>`` or ``database``. Two nodes of Kafka are each other's clients."""
        for first, second in combinations(SERVERS[1:], 2):
            self.links[first, second] = self._proxy.link_of_several()
        self._others = self._proxy.link_of_several()
        """For what comes to a node by the other nodes' way, and is of none of them. It stays open."""
        self.kafka = KafkaCluster(folder / "kafka", clients, open_door=self._open_door, open_passage=self._open_passage)
        self.postgres = PostgresServer(folder / "postgres")
        for client in clients:
            self.links[client, "database"] = self._proxy.link(self.postgres.port)

    def start(self) -> None:
        """Start everything and wait until it is ready. Raises Unavailable."""
        self.kafka.prepare()
        self.postgres.prepare()
        self.kafka.start()
        self.postgres.start()
        self.postgres.wait_until_ready()
        self.kafka.wait_until_ready()

    def make_template(self, folder: Path) -> None:
        """Make the database that those of the runs are copies of."""
        execute(self.postgres.address, f"CREATE DATABASE {TEMPLATE}")
        Process(["manage.py", "migrate", "-v0"], self.direct_env(TEMPLATE), folder / "migrate.log").succeeds()

    def new_database(self, name: str) -> str:
        """Make the database of a run; its direct address."""
        execute(self.postgres.address, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        return self._database_url(name)

    def drop_database(self, name: str) -> None:
        with suppress(psycopg.Error):
            execute(self.postgres.address, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def env_of(self, client: str, database: str, prefix: str) -> dict[str, str]:
        """The environment of a process that reaches both through its links."""
        port = self.links[client, "database"].port
        return self._env(f"postgres://postgres@127.0.0.1:{port}/{database}?application_name={client}") | {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.address_for(client),
            "EVENTS_PREFIX": prefix,
        }

    def direct_env(self, database: str) -> dict[str, str]:
        """The environment of a process that reaches both directly."""
        own = self._env(self._database_url(database)) | {"KAFKA_BOOTSTRAP_SERVERS": self.kafka.address}
        return {**os.environ, **own}

    def heal(self) -> None:
        """Open all links, and start what does not run; returns at once."""
        for link in self.links.values():
            link.become(Condition.OPEN)
        self.kafka.start()
        if not self.postgres.is_running():
            self.postgres.start()

    def wait_until_ready(self) -> None:
        self.postgres.wait_until_ready()
        self.kafka.wait_until_ready()

    def stop(self) -> None:
        self.kafka.stop()
        self.postgres.stop()
        self._proxy.close()

    def _open_door(self, client: str, node: int, port: int) -> int:
        link = self.links[client, f"kafka-{node}"] = self._proxy.link(port)
        return link.port

    def _open_passage(self, node: int, port: int) -> int:
        return self._proxy.entrance(port, partial(self._link_to, node))

    def _link_to(self, node: int, port: int) -> Link:
        """The link of a connection to this node that comes from this port."""
        nodes = {each.pid: number for number, each in self.kafka.nodes.items() if each.pid and number != node}
        source = owner_of(port, nodes)
        return self.links[_pair(nodes[source], node)] if source else self._others

    def _env(self, database_url: str) -> dict[str, str]:
        return {
            "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
            "DATABASE_URL": database_url,
            "KAFKA_CONSUMER": SESSION,
        }

    def _database_url(self, name: str) -> str:
        return f"postgres://postgres@127.0.0.1:{self.postgres.port}/{name}"


def _pair(first: int, second: int) -> tuple[str, str]:
    low, high = sorted((first, second))
    return f"kafka-{low}", f"kafka-{high}"
