"""A run on one Kafka node and one PostgreSQL that others have started, in which a test says who dies where."""

import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from tests.broker import Broker
from tests.chaos.actors import Actor
from tests.chaos.checker import check
from tests.chaos.databases import execute
from tests.chaos.facts import Fault, Phase, Settled, Unsettled, topics_by_group
from tests.chaos.gathering import gather
from tests.chaos.history import History
from tests.chaos.scenario import LATE, PARTITIONS
from tests.chaos.settling import Rest
from tests.chaos.timeline import timeline
from tests.fixtures import OF_THIS_PROCESS, SESSION
from tests.processes import Process
from tests.waiting import wait_for

SETTLES_WITHIN = 240.0
"""Seconds in which everything has to come to rest: many, as in ``wait_for``."""

COMMANDS = {
    "web": ("visit", "--rate=20"),
    "catchup": ("catchup", "--interval=0.2"),
    "books": ("consume", "books"),
    "shaky": ("consume", "watch", "shaky"),
    "all": ("consume",),
}
"""The commands of actors, by the first part of their names."""


class SmallRun:
    """Actors on a database of their own. ``end`` it."""

    def __init__(
        self, kafka: str, database_server: str, migrated: str, folder: Path, options: Mapping[str, object] = SESSION
    ) -> None:
        """``migrated`` is the database that this run's is a copy of; ``options`` are those of consumers."""
        name = uuid.uuid4().hex[:10]
        self.history = History(folder / "history.jsonl")
        self.broker = Broker(kafka, f"crash-{name}.")
        self._server = database_server
        self._database = f"chaos_{name}"
        self.database_url = _address(database_server, self._database)
        self._folder = folder
        self._phase = folder / "phase"
        self._actors: dict[str, Actor] = {}
        self._options = dict(options)
        self._env = {
            "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
            "DATABASE_URL": self.database_url,
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "KAFKA_CONSUMER": json.dumps(self._options),
            "EVENTS_PREFIX": self.broker.prefix,
        }
        self.broker.create(LATE, PARTITIONS, message_timestamp_type="LogAppendTime")
        execute(self._server, f"CREATE DATABASE {self._database} TEMPLATE {migrated}")
        self._enter("faults")

    def start(self, name: str, crash_at: str = "", *, is_spared: bool = False) -> Actor:
        """Start a process of this actor, which is killed at the named crash point, if there is one. One that is spared
        is never killed, and loses no partition if it stands still; that is not for the protocol ``consumer``."""
        if name not in self._actors:
            command = COMMANDS[name.rpartition("-")[0]]
            if command[0] == "visit":
                command = (*command, f"--phase={self._phase}", f"--seed={len(self._actors)}")
            self._actors[name] = Actor(name, command, self._env, self._folder, self.history)
        patient = {"KAFKA_CONSUMER": json.dumps(self._options | OF_THIS_PROCESS)} if is_spared else {}
        self._actors[name].start(DJANGO_EVENTS_CRASH_AT=crash_at, **patient)
        return self._actors[name]

    @contextmanager
    def crashing(self, name: str, point: str) -> Iterator[Actor]:
        """The actor runs inside, and is killed at the point; at the end of the block that is waited for."""
        began = time.time()
        actor = self.start(name, point)
        yield actor
        actor.expect_end()
        assert actor.process.was_killed_by_itself(), actor.process.output
        actor.note_end()
        self.history.note(Fault(at=began, kind=f"crash at {point}", hits=(name,), until=time.time()))

    def replace(self, name: str, *, by_kill: bool) -> None:
        """End the actor's process, by SIGKILL or in good order, and start another."""
        began, actor = time.time(), self._actors[name]
        if by_kill:
            actor.kill()
        else:
            self.stop(name)
        actor.start()
        if by_kill:
            self.history.note(Fault(at=began, kind="kill", hits=(name,), until=time.time()))

    def stop(self, name: str) -> None:
        """End the actor's process in good order."""
        actor = self._actors[name]
        actor.wish_end()
        actor.process.ends()
        actor.note_end()

    def lease_no_longer(self) -> None:
        """The leases that killed processes had of dead letters end now."""
        with psycopg.connect(self.database_url, autocommit=True) as database:
            database.execute(
                "UPDATE django_events_deadletter SET due_at = due_at - interval '1 minute' WHERE state = 'running'"
            )

    def settle(self) -> None:
        """Let no more visitors come, and wait until everything has come to rest."""
        for name, actor in self._actors.items():
            if name.startswith("web"):
                actor.expect_end()
        self._enter("settling")
        groups = topics_by_group(self.history.read())
        rest = Rest(self.broker.bootstrap_servers, self.broker.prefix, self.database_url, groups)
        started = time.monotonic()
        while left := self._still_left(rest) or self._still_left(rest):  # a handler may have sent between two looks
            if time.monotonic() - started > SETTLES_WITHIN:
                self.history.note(Unsettled(left=left))
                break
            time.sleep(0.2)
        else:
            self.history.note(Settled(seconds=time.monotonic() - started))
        rest.close()

    def violations(self) -> list[str]:
        """End all in good order, and judge the history; each violation with its timeline."""
        for actor in self._actors.values():
            actor.note_end()
            actor.wish_end()
        wait_for(lambda: not any(actor.runs for actor in self._actors.values()))
        for actor in self._actors.values():
            actor.note_end()
        groups = topics_by_group(self.history.read())
        gather(self.history, self.broker, self.database_url, groups)
        facts = self.history.read()
        return ["\n".join([f"{each.rule}: {each.what}", *timeline(facts, each)]) for each in check(facts)]

    def end(self) -> None:
        for actor in self._actors.values():
            actor.end()
        self.history.close()
        _drop(self._server, self._database)

    def _still_left(self, rest: Rest) -> str:
        visiting = [name for name, actor in self._actors.items() if name.startswith("web") and actor.runs]
        return f"visitors in {', '.join(visiting)}" if visiting else rest.what_is_left()

    def _enter(self, phase: str) -> None:
        self.history.note(Phase(name=phase))
        partial = self._phase.with_suffix(".new")
        partial.write_text(phase)
        partial.rename(self._phase)


@contextmanager
def migrated_database(server: str, folder: Path) -> Iterator[str]:
    """The name of a database with the chaotic site's tables, which those of runs are copies of."""
    name = f"chaos_{uuid.uuid4().hex[:10]}_migrated"
    execute(server, f"CREATE DATABASE {name}")
    env = {"DJANGO_SETTINGS_MODULE": "tests.chaos.settings", "DATABASE_URL": _address(server, name)}
    try:
        Process(["manage.py", "migrate", "-v0"], {**os.environ, **env}, folder / "migrate.log").succeeds()
        yield name
    finally:
        _drop(server, name)


def _address(server: str, database: str) -> str:
    return urlsplit(server)._replace(path=f"/{database}").geturl()


def _drop(server: str, name: str) -> None:
    execute(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
