"""A Kafka cluster of three nodes, each of which may die, with a door of its own for every client."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tests.services.installing import Unavailable
from tests.services.kafka import KafkaNode, brokers_seen_at, new_cluster_id
from tests.services.server import free_ports

NODES = (1, 2, 3)
NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True)
class Door:
    """Where one node expects one client: a port of the node, and the one that it tells the client to use.

    What is between the two carries the bytes.
    """

    client: str
    node: int
    port: int
    advertised: int


OpenDoor = Callable[[str, int, int], int]
"""Puts something in front of a node's port for a client; returns the port where the client is to go."""

OpenPassage = Callable[[int, int], int]
"""Puts something in front of a node's port for the other nodes; returns the port where they are to go."""


def _directly(_client: str, _node: int, port: int) -> int:
    return port


def _straight(_node: int, port: int) -> int:
    return port


class KafkaCluster:
    """Every record is on all three nodes, and acknowledged when two have it."""

    name = "Kafka cluster"

    def __init__(
        self,
        folder: Path,
        clients: Sequence[str] = (),
        properties: Mapping[str, object] = NOTHING,
        open_door: OpenDoor = _directly,
        open_passage: OpenPassage = _straight,
    ) -> None:
        """``properties`` are Kafka's, in front of ours."""
        ports = iter(free_ports(2 * len(NODES) + len(NODES) * len(clients)))
        own = {number: (next(ports), next(ports)) for number in NODES}
        self._ports = {
            number: _Ports(port, controller, open_passage(number, port), open_passage(number, controller))
            for number, (port, controller) in own.items()
        }
        self.doors = [
            Door(client, number, port, open_door(client, number, port))
            for client in clients
            for number in NODES
            for port in [next(ports)]
        ]
        cluster_id = new_cluster_id()
        self.nodes = {
            number: _Node(
                folder / f"node-{number}", number, self._ports, self._doors_of(number), cluster_id, properties
            )
            for number in NODES
        }
        self.address = ",".join(node.address for node in self.nodes.values())

    def address_for(self, client: str) -> str:
        """The addresses that this client is to use: its doors."""
        return ",".join(f"127.0.0.1:{door.advertised}" for door in self.doors if door.client == client)

    def prepare(self) -> None:
        """Raises Unavailable."""
        for node in self.nodes.values():
            node.prepare()

    def start(self) -> None:
        """Start the nodes that do not run; returns at once."""
        for node in self.nodes.values():
            if not node.is_running():
                node.start()

    def wait_until_ready(self, timeout: float = 240.0) -> None:
        """Wait until every node answers and knows all others; one that ends by itself is started again, which is told.
        Raises Unavailable."""
        deadline = time.monotonic() + timeout
        for node in self.nodes.values():
            while brokers_seen_at(node.address) != set(NODES):
                if time.monotonic() > deadline:
                    log = node.log.read_text(errors="replace")[-2000:]
                    raise Unavailable(f"{node.name} {node.number} does not know all others after {timeout:g} s:\n{log}")
                self._start_those_that_ended()
                time.sleep(0.1)

    def _start_those_that_ended(self) -> None:
        for node in self.nodes.values():
            if not node.is_running():
                print(f"Kafka's node {node.number} has ended by itself; see {node.log}", file=sys.stderr, flush=True)
                node.start()

    def stop(self) -> None:
        """End all nodes at once: nothing of them is used again."""
        for node in self.nodes.values():
            node.kill()

    def _doors_of(self, number: int) -> list[Door]:
        return [door for door in self.doors if door.node == number]


@dataclass(frozen=True)
class _Ports:
    """Where a node listens for brokers and for controllers, and where the others are told to go."""

    port: int
    controller: int
    advertised: int
    advertised_controller: int


class _Node(KafkaNode):
    """One node of three."""

    def __init__(
        self,
        folder: Path,
        number: int,
        ports: Mapping[int, _Ports],
        doors: Sequence[Door],
        cluster_id: str,
        properties: Mapping[str, object],
    ) -> None:
        self.number = number
        self._properties = properties
        self._doors = doors
        self._voters = ",".join(f"{each}@127.0.0.1:{its.advertised_controller}" for each, its in ports.items())
        self._ports = ports[number]
        super().__init__(folder, f"127.0.0.1:{self._ports.port}", cluster_id, heap="512m")

    def properties(self) -> Mapping[str, object]:
        listeners = {"NODES": self.address} | {_listener(door): f"127.0.0.1:{door.port}" for door in self._doors}
        advertised = {
            "NODES": f"127.0.0.1:{self._ports.advertised}",
            "CONTROLLER": f"127.0.0.1:{self._ports.advertised_controller}",
        } | {_listener(door): f"127.0.0.1:{door.advertised}" for door in self._doors}
        return {
            "node.id": self.number,
            "controller.quorum.voters": self._voters,
            "listeners": _urls(listeners | {"CONTROLLER": f"127.0.0.1:{self._ports.controller}"}),
            "advertised.listeners": _urls(advertised),
            "inter.broker.listener.name": "NODES",
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in ["CONTROLLER", *listeners]),
            "num.network.threads": 1,  # for each listener
            "default.replication.factor": 3,
            "min.insync.replicas": 2,
            "offsets.topic.replication.factor": 3,
            "broker.session.timeout.ms": 3000,
            "broker.heartbeat.interval.ms": 500,
            **self._properties,
        }


def _listener(door: Door) -> str:
    return door.client.upper().replace("-", "_")


def _urls(listeners: Mapping[str, str]) -> str:
    return ",".join(f"{name}://{address}" for name, address in listeners.items())
