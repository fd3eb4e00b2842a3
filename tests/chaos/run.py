"""One run: everything is started, works in peace, is broken in many ways, comes to rest, and is judged."""

import os
import random
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psycopg

from tests.broker import Broker
from tests.chaos.actors import Actor, all_say
from tests.chaos.asking import ask
from tests.chaos.checker import check
from tests.chaos.facts import ABSENT, ACTOR, Phase, SetAside, Settled, Unsettled, topics_by_group
from tests.chaos.gathering import gather
from tests.chaos.history import FILE, History
from tests.chaos.injector import Injector
from tests.chaos.parts import SERVERS, Parts
from tests.chaos.plain_client import BOTH_ANSWER
from tests.chaos.plan import plan
from tests.chaos.result import Result, summed_up
from tests.chaos.scenario import CAST, LATE, PARTITIONS, TOPICS, Scenario
from tests.chaos.settling import Rest, sent_again
from tests.processes import Process
from tests.services.cluster import NODES
from tests.waiting import wait_for

PLAIN_CLIENT = "plain-client"

STOPS_WITHIN = 15.0
"""Seconds after which it is worth to know what a process does that has not stopped yet."""

TICK = 0.05
"""Seconds between two looks at what is due."""


class Run:
    """One seed. ``play`` it once, in the main thread; ``end`` it whatever happens."""

    def __init__(
        self,
        parts: Parts,
        seed: int,
        scenario: Scenario,
        folder: Path,
        say: Callable[[str], None],
        planted: str = "",
    ) -> None:
        name = f"{seed}_{uuid.uuid4().hex[:6]}"
        self._parts = parts
        self._seed = seed
        self._scenario = scenario
        self._say = say
        self._planted = planted
        self._database = f"chaos_{name}"
        self._database_url = parts.new_database(self._database)
        self._broker = Broker(parts.kafka.address, f"chaos-{name}.", {"log_level": 0})
        self._folder = folder / f"seed-{name}"
        self._folder.mkdir(parents=True)
        self._phase_file = self._folder / "phase"
        self._phase_file.write_text("preparing")
        self.history = History(self._folder / "history.jsonl")
        self._actors = {name: self._actor(name) for name in CAST}
        self._plain_client: Process | None = None
        self._injector = Injector(parts, self._actors, self._broker, TOPICS[0], self.history)
        self._lacks_late = ABSENT in scenario.kinds

    def play(self) -> Result:
        """Do all of it; what it came to."""
        started = time.monotonic()
        self._prepare()
        self._enter("warming-up")
        self._warm_up()
        self._enter("calm")
        self._pass(self._scenario.calm)
        self._start("catchup")
        all_say(self._those("catchup"), "Catching up")
        self._enter("catching-up")
        self._pass(self._scenario.catching_up)
        self._enter("faults")
        self._break_things()
        self._enter("settling")
        self._settle()
        self._end_in_good_order()
        gather(self.history, self._broker, self._database_url, self._groups)
        facts = self.history.read()
        violations = check(facts)
        return summed_up(self._seed, self._planted, self.history.path, facts, violations, time.monotonic() - started)

    def end(self) -> None:
        """Whatever still runs is ended, and what others would stumble over is mended."""
        for actor in self._actors.values():
            actor.end()
        if self._plain_client:
            self._plain_client.kill()
        self._parts.heal()
        self._parts.wait_until_ready()
        wait_for(self._forget_topics)
        self._parts.drop_database(self._database)
        self.history.close()

    def _forget_topics(self) -> bool:
        """Delete what only this run needs: with the topics of twenty runs Kafka takes seconds where it took hundredths.
        False if it does not answer."""
        return ask(self._parts.kafka.address, "forget", self._broker.prefix) is not None

    # ── the phases ───────────────────────────────────────────────────────────────────────────────────────────────

    def _prepare(self) -> None:
        if not self._lacks_late:
            wait_for(self._injector.create_late)
        self._plain_client = self._start_plain_client()
        self._start("books", "watch", "web")
        all_say(self._those("books"), "books: got")
        all_say(self._those("watch"), "watch: got")
        all_say(self._those("watch"), "shaky: got")
        all_say(self._those("web"), "Open")

    def _start_plain_client(self) -> Process:
        """Watch whether the servers work, from outside of the site."""
        topic = self._broker.prefix + PLAIN_CLIENT
        wait_for(lambda: ask(self._parts.kafka.address, "create", topic, str(len(NODES))) is not None)
        arguments = ["-m", "tests.chaos.plain_client", self._parts.kafka.address, topic, self._database_url]
        env = {**os.environ, FILE: str(self.history.path), ACTOR: PLAIN_CLIENT}
        client = Process(arguments, env, self._folder / f"{PLAIN_CLIENT}.log")
        client.says(BOTH_ANSWER)
        return client

    def _warm_up(self) -> None:
        """Until every partition has a record: the first ones of a new topic on cold servers take their time."""
        topics = TOPICS if self._lacks_late else (*TOPICS, LATE)
        partitions = [(topic, number) for topic in topics for number in range(PARTITIONS)]
        wait_for(lambda: all(self._broker.end(*partition) for partition in partitions))

    def _enter(self, phase: str) -> None:
        self.history.note(Phase(name=phase))
        partial = self._phase_file.with_suffix(".new")
        partial.write_text(phase)
        partial.rename(self._phase_file)
        self._say(phase)

    def _pass(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._note_ends()
            time.sleep(TICK)

    def _break_things(self) -> None:
        planned = plan(self._seed, self._scenario.faults, [*CAST], SERVERS, self._scenario.kinds)
        started = time.monotonic()
        enough = False
        while (passed := time.monotonic() - started) < self._scenario.faults and not enough:
            self._note_ends()
            self._injector.end_those_due(time.time())
            while planned and planned[0].at <= passed:
                self._say(f"{planned[0]} for {planned[0].seconds} s")
                self._injector.begin(planned.pop(0))
                enough = self._has_enough()
            time.sleep(TICK)
        self._injector.end_those_due(float("inf"))

    def _has_enough(self) -> bool:
        if not self._scenario.events:
            return False
        with psycopg.connect(self._database_url, connect_timeout=60) as database:
            (count,) = database.execute("SELECT count(*) FROM chaos_change").fetchone() or (0,)
        return int(count) >= self._scenario.events

    def _settle(self) -> None:
        for actor in self._those("web"):
            actor.expect_end()
        self._parts.heal()
        self._parts.wait_until_ready()
        wait_for(lambda: self._injector.end_those_due(float("inf")), 180.0)  # what Kafka had to be there for
        started = time.monotonic()
        rest = Rest(self._parts.kafka.address, self._broker.prefix, self._database_url, self._groups)
        while left := self._still_left(rest) or self._still_left(rest):  # a handler may have sent between two looks
            self._send_again(rest)
            self._note_ends()
            if time.monotonic() - started > self._scenario.settles_within:
                self.history.note(Unsettled(left=left))
                break
            time.sleep(0.2)
        else:
            self.history.note(Settled(seconds=time.monotonic() - started))
        rest.close()

    def _send_again(self, rest: Rest) -> None:
        """What was set aside while Kafka refused it, also what is set aside until then."""
        try:
            has_some = rest.has_set_aside()
        except psycopg.OperationalError:  # no answer: there is another look
            return
        if has_some:
            self._injector.end_late_refusal()
            env = self._parts.direct_env(self._database) | {"EVENTS_PREFIX": self._broker.prefix}
            output = Process(["manage.py", "send_again"], env, self._folder / "send-again.log").succeeds()
            self.history.note(*[SetAside(event=event) for event in sent_again(output)])

    def _still_left(self, rest: Rest) -> str:
        visiting = [actor.name for actor in self._those("web") if actor.runs]
        return f"visitors in {', '.join(visiting)}" if visiting else rest.what_is_left()

    def _end_in_good_order(self) -> None:
        for actor in self._actors.values():
            actor.wish_end()
        try:
            wait_for(self._have_ended, STOPS_WITHIN)
        except AssertionError:
            (self._folder / "stacks").write_text(self._stacks())
            wait_for(self._have_ended)
        for actor in self._actors.values():
            actor.note_end()
        assert self._plain_client and self._plain_client.running(), "the plain client has ended by itself"
        self._plain_client.signal(signal.SIGTERM)
        self._plain_client.succeeds()

    def _have_ended(self) -> bool:
        return not any(actor.runs for actor in self._actors.values())

    def _stacks(self) -> str:
        """What those are doing that have not ended yet."""
        return "\n".join(f"{actor.name}:\n{actor.process.stacks()}" for actor in self._actors.values() if actor.runs)

    # ── actors ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _actor(self, name: str) -> Actor:
        env = self._parts.env_of(name, self._database, self._broker.prefix) | {"CHAOS_PLANTED": self._planted}
        arguments = CAST[name]
        if arguments == ("visit",):
            seed = random.Random(f"{name} of {self._seed}").randrange(2**31)
            arguments = (*arguments, f"--seed={seed}", f"--phase={self._phase_file}", f"--rate={self._scenario.rate}")
        return Actor(name, arguments, env, self._folder, self.history)

    def _those(self, *kinds: str) -> list[Actor]:
        return [actor for name, actor in self._actors.items() if name.rpartition("-")[0] in kinds]

    @property
    def _groups(self) -> dict[str, set[str]]:
        return topics_by_group(self.history.read())

    def _start(self, *kinds: str) -> None:
        for actor in self._those(*kinds):
            actor.start()

    def _note_ends(self) -> None:
        """Note processes that have ended by themselves; others take their places."""
        for actor in self._actors.values():
            if actor.note_end() and not actor.end_was_wanted:
                actor.start()
