"""Carries faults out, and mends what they broke when their time is over."""

import random
import time
from collections.abc import Callable, Mapping

import psycopg

from tests.broker import Broker
from tests.chaos.actors import Actor
from tests.chaos.asking import ask
from tests.chaos.facts import ABSENT, DATABASE, DIVIDE, KAFKA, REFUSE, Fault
from tests.chaos.history import History
from tests.chaos.parts import Parts
from tests.chaos.plan import Planned
from tests.chaos.scenario import LATE, PARTITIONS
from tests.services.proxy import Condition

Mend = Callable[[], bool | None]
"""False if it is not mended yet, and is to be tried again."""

REFUSED_ABOVE = 2_500
"""Bytes of a batch that Kafka takes while it refuses large ones."""


class Injector:
    """Begins and ends faults. Nothing here waits for long. Used by the main thread: what starts a server must live.

    Make it when the run begins.
    """

    def __init__(self, parts: Parts, actors: Mapping[str, Actor], broker: Broker, topic: str, history: History) -> None:
        self._parts = parts
        self._actors = actors
        self._broker = broker
        self._topic = topic
        self._history = history
        self._made_at = self._allowed_at = time.time()
        self._begun: list[tuple[float, Planned, Fault, Mend]] = []

    def begin(self, planned: Planned) -> None:
        """Break it now."""
        at = time.time()
        due = at + planned.seconds
        hits, about, mend = self._BREAKS[planned.kind](self, planned)
        began = self._made_at if planned.kind == ABSENT else at
        fault = Fault(at=began, kind=planned.kind, hits=hits, until=due, about=about)
        self._begun.append((due, planned, fault, mend))

    def end_those_due(self, now: float) -> bool:
        """Mend what has been broken for long enough, and note it; whether nothing is broken any more."""
        for entry in [entry for entry in self._begun if entry[0] <= now]:
            _, _, fault, mend = entry
            if mend() is False:
                continue
            self._begun.remove(entry)
            self._history.note(
                Fault(at=fault.at, kind=fault.kind, hits=fault.hits, until=time.time(), about=fault.about)
            )
        return not self._begun

    def create_late(self) -> bool:
        """Create the topic that the site cannot make; False if Kafka, which may be away, has not answered."""
        topic = self._broker.prefix + LATE
        return ask(self._broker.bootstrap_servers, "create", topic, str(PARTITIONS)) is not None

    # ── kinds: each breaks something and returns what it hits, a word about it, and how to mend it ──────────────────

    def _kill(self, planned: Planned) -> tuple[tuple[str, ...], str, Mend]:
        actor = self._actors[planned.target[0]]
        if actor.runs:
            actor.kill()
        return planned.target, "", actor.start_again

    def _freeze(self, planned: Planned) -> tuple[tuple[str, ...], str, Mend]:
        actor = self._actors[planned.target[0]]
        actor.freeze()
        return planned.target, "", actor.thaw

    def _terminate(self, planned: Planned) -> tuple[tuple[str, ...], str, Mend]:
        sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = %s"
        try:
            with psycopg.connect(self._parts.postgres.address, autocommit=True, connect_timeout=2) as connection:
                (count,) = connection.execute(sql, [planned.target[0]]).fetchone() or (0,)
        except psycopg.OperationalError:  # the server is away just now
            count = 0
        return planned.target, f"{count} connections", _nothing

    def _cut(self, planned: Planned) -> tuple[tuple[str, ...], str, Mend]:
        return self._change_link(planned, Condition.CUT)

    def _stall(self, planned: Planned) -> tuple[tuple[str, ...], str, Mend]:
        return self._change_link(planned, Condition.STALLED)

    def _slow(self, planned: Planned) -> tuple[tuple[str, ...], str, Mend]:
        return self._change_link(planned, Condition.SLOW)

    def _change_link(self, planned: Planned, condition: Condition) -> tuple[tuple[str, ...], str, Mend]:
        client, server = planned.target
        link = self._parts.links[client, server]
        link.become(condition)
        is_between_nodes = client.startswith("kafka-")
        hits, about = ((KAFKA,), f"{client} and {server}") if is_between_nodes else ((client,), server)
        return hits, about, lambda: link.become(Condition.OPEN)

    def _broker_(self, planned: Planned) -> tuple[tuple[str, ...], str, Mend]:
        return self._kill_nodes(*[int(name.removeprefix("kafka-")) for name in planned.target])

    def _coordinator(self, planned: Planned) -> tuple[tuple[str, ...], str, Mend]:
        group = random.Random(planned.at).choice(("books", "watch", "shaky"))
        node = ask(self._broker.bootstrap_servers, "coordinator", self._broker.prefix + group)
        if node is None:  # it has none just now
            return (), "nobody coordinates", _nothing
        return self._kill_nodes(int(node))

    def _kill_nodes(self, *numbers: int) -> tuple[tuple[str, ...], str, Mend]:
        nodes = [self._parts.kafka.nodes[number] for number in numbers if number in self._parts.kafka.nodes]
        for node in nodes:
            node.kill()

        def start() -> None:
            for node in nodes:
                node.start()

        return (KAFKA,), ", ".join(f"node {number}" for number in numbers), start

    def _divide(self, planned: Planned) -> tuple[tuple[str, ...], str, Mend]:
        (node,) = planned.target
        links = [link for ends, link in self._parts.links.items() if node in ends and ends[0].startswith("kafka-")]
        for link in links:
            link.become(Condition.STALLED)

        def heal() -> None:
            for link in links:
                link.become(Condition.OPEN)

        return (KAFKA,), f"{node} from the others", heal

    def _database(self, planned: Planned) -> tuple[tuple[str, ...], str, Mend]:
        self._parts.postgres.crash()
        return (DATABASE,), "", self._parts.postgres.start

    def _refuse(self, planned: Planned) -> tuple[tuple[str, ...], str, Mend]:
        topic = self._broker.prefix + self._topic
        done = ask(self._broker.bootstrap_servers, "limit", topic, str(REFUSED_ABOVE)) is not None
        return (KAFKA,), self._topic if done else "no answer", self._refuse_no_longer

    def _refuse_no_longer(self) -> bool:
        """False if Kafka, which may be coming back, has not answered."""
        is_allowed = ask(self._broker.bootstrap_servers, "unlimit", self._broker.prefix + self._topic) is not None
        if is_allowed:
            self._allowed_at = time.time()
        return is_allowed

    def end_late_refusal(self) -> None:
        """Where Kafka refuses large batches still, end that, and note that it has. A node that is cut off from the
        others passes on what it was asked when it is back: perhaps after another was asked to end it."""
        since = self._allowed_at
        is_limited = ask(self._broker.bootstrap_servers, "is_limited", self._broker.prefix + self._topic) == "True"
        if is_limited and self._refuse_no_longer():
            about = f"{self._topic}, later than it was to be"
            self._history.note(Fault(at=since, kind=REFUSE, hits=(KAFKA,), until=time.time(), about=about))

    def _absent(self, planned: Planned) -> tuple[tuple[str, ...], str, Mend]:
        return (LATE,), "", self.create_late  # nobody has made it yet

    _BREAKS: Mapping[str, Callable[["Injector", Planned], tuple[tuple[str, ...], str, Mend]]] = {
        "kill": _kill,
        "freeze": _freeze,
        "terminate": _terminate,
        "cut": _cut,
        "stall": _stall,
        "slow": _slow,
        "broker": _broker_,
        "coordinator": _coordinator,
        "quorum": _broker_,
        "database": _database,
        REFUSE: _refuse,
        ABSENT: _absent,
        DIVIDE: _divide,
    }


def _nothing() -> None:
    """What was broken mends itself."""
