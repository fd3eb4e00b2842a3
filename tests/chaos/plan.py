"""Which faults a run has, and when: drawn from its seed, and from nothing else."""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.facts import ABSENT, DIVIDE, REFUSE


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One fault: ``target`` is an actor, nodes of Kafka, or a client and a server; empty where there is but one."""

    kind: str
    at: float
    """Seconds from the begin of the phase."""
    seconds: float
    target: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join([self.kind, "–".join(self.target)]).strip()


@dataclass(frozen=True, slots=True)
class Kind:
    """How often a kind of fault is drawn, and how many seconds it lasts."""

    weight: int
    """0: it is not drawn like others."""
    shortest: float
    longest: float
    shared: bool = False
    """It hits what all use: one of these at a time, with a rest afterwards."""


KINDS: Mapping[str, Kind] = {
    "kill": Kind(9, 0.1, 4),
    "freeze": Kind(6, 0.5, 13),
    "terminate": Kind(5, 0, 0),
    "cut": Kind(4, 0.2, 5),
    "stall": Kind(3, 0.5, 8),
    "slow": Kind(3, 2, 8),
    "broker": Kind(3, 1, 6, shared=True),
    "coordinator": Kind(3, 1, 6, shared=True),
    "quorum": Kind(2, 3, 7, shared=True),
    "database": Kind(2, 0.1, 3, shared=True),
    REFUSE: Kind(2, 1, 4, shared=True),
    ABSENT: Kind(0, 0, 0),
    DIVIDE: Kind(0, 4, 12),
}
"""kill, freeze: SIGKILL, SIGSTOP of an actor. terminate: of its database connections. cut, stall, slow: its
connections to one server. broker, coordinator, quorum: SIGKILL of one node of Kafka, of the one that coordinates a
group, of two at once. database: immediate restart. refuse: Kafka refuses large batches. absent: once in a run, from its
begin until a moment of the phase. divide: once in a run, one node of Kafka is cut off from the others, and not from its
clients. These two are drawn apart from the others, and so is one cut and one slow of the connections between two nodes.
"""

BETWEEN_NODES = ("cut", "slow")
"""The kinds that also hit, once in a run, the connections between two nodes of Kafka."""

GAP = 0.7
"""Seconds between the begins of two faults, on average."""

REST = 3.0
"""Seconds after a shared fault without another."""


def plan(
    seed: int, seconds: float, actors: Sequence[str], servers: Sequence[str], kinds: Collection[str] = tuple(KINDS)
) -> list[Planned]:
    """The faults of a phase of so many seconds, in the order of their begin. All are over at its end."""
    apart = [_absence(random.Random(f"absence of {seed}"), seconds)] if ABSENT in kinds else []
    apart += [_division(random.Random(f"division of {seed}"), seconds, servers)] if DIVIDE in kinds else []
    drawn = sorted(kind for kind in kinds if KINDS[kind].weight)
    apart += [
        _between_nodes(random.Random(f"{kind} between nodes of {seed}"), kind, seconds, servers)
        for kind in BETWEEN_NODES
        if kind in kinds
    ]
    others = _drawn(random.Random(f"faults of {seed}"), seconds, actors, servers, drawn)
    return sorted([*apart, *others], key=lambda planned: planned.at)


def _absence(draw: random.Random, seconds: float) -> Planned:
    """It has long begun when the phase does."""
    return Planned(kind=ABSENT, at=0.0, seconds=round(draw.uniform(0, seconds), 2))


def _division(draw: random.Random, seconds: float, servers: Sequence[str]) -> Planned:
    at, lasts = _moment(draw, DIVIDE, seconds)
    return Planned(kind=DIVIDE, at=at, seconds=lasts, target=(draw.choice(_nodes(servers)),))


def _between_nodes(draw: random.Random, kind: str, seconds: float, servers: Sequence[str]) -> Planned:
    at, lasts = _moment(draw, kind, seconds)
    return Planned(kind=kind, at=at, seconds=lasts, target=tuple(sorted(draw.sample(_nodes(servers), 2))))


def _moment(draw: random.Random, kind: str, seconds: float) -> tuple[float, float]:
    """When it begins, and how long it lasts; it is over at the end of the phase."""
    lasts = min(draw.uniform(KINDS[kind].shortest, KINDS[kind].longest), seconds)
    at = draw.uniform(0, seconds - lasts)
    return round(at, 2), round(lasts, 2)


def _drawn(
    draw: random.Random, seconds: float, actors: Sequence[str], servers: Sequence[str], kinds: Sequence[str]
) -> Iterator[Planned]:
    at = 0.0
    busy: dict[tuple[str, ...], float] = {}
    while kinds:
        at += draw.expovariate(1 / GAP)
        (name,) = draw.choices(kinds, [KINDS[each].weight for each in kinds])
        lasts = draw.uniform(KINDS[name].shortest, KINDS[name].longest)
        target = _target(draw, name, actors, servers)
        if at >= seconds:
            return
        hit = ("shared",) if KINDS[name].shared else target[:1]
        if busy.get(hit, 0.0) > at or at + lasts > seconds:
            continue
        busy[hit] = at + lasts + (REST if KINDS[name].shared else 0.5)
        yield Planned(kind=name, at=round(at, 2), seconds=round(lasts, 2), target=target)


def _target(draw: random.Random, kind: str, actors: Sequence[str], servers: Sequence[str]) -> tuple[str, ...]:
    nodes = _nodes(servers)
    if kind in ("kill", "freeze", "terminate"):
        return (draw.choice(actors),)
    if kind in ("cut", "stall", "slow"):
        return draw.choice(actors), draw.choice(servers)
    if kind == "broker":
        return (draw.choice(nodes),)
    return tuple(sorted(draw.sample(nodes, 2))) if kind == "quorum" else ()


def _nodes(servers: Sequence[str]) -> list[str]:
    return [server for server in servers if server.startswith("kafka-")]
