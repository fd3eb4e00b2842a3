"""Where runs take place: a database and names in Kafka of their own, so that no run finds what another has left."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg

from tests.broker import Broker

OURS = "benchmark"
"""The application name of our own connections, by which they are told from those that are measured."""


@dataclass(frozen=True)
class Place:
    """Where one run takes place."""

    database: str
    """The address of its database."""
    broker: Broker
    """Kafka with the names of this run."""
    name: str
    """Unique to the run."""
    shared: Broker
    """Kafka with the names of all runs of the variant, where its topics are read only."""

    def connect(self) -> "psycopg.Connection[tuple[Any, ...]]":
        """A connection of ours to the run's database."""
        return psycopg.connect(self.database, autocommit=True, application_name=OURS)

    def env(self, *, shared: bool = False) -> dict[str, str]:
        """The environment of a process that is to work here."""
        broker = self.shared if shared else self.broker
        return {
            "DATABASE_URL": self.database,
            "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "EVENTS_PREFIX": broker.prefix,
            "DJANGO_SETTINGS_MODULE": "benchmarks.site.settings",
            "EVENTS_LOG_LEVEL": "WARNING",
        }

    def env_by_hand(self, *, shared: bool = False) -> dict[str, str]:
        """The environment of a yard-stick's process: the same without the product."""
        return self.env(shared=shared) | {"DJANGO_SETTINGS_MODULE": "benchmarks.handwritten.settings"}


class Ground:
    """Where the runs of one variant take place: each gets a copy of the database that was prepared. ``close`` it."""

    def __init__(self, server: str, bootstrap_servers: str, migrated: str) -> None:
        """``migrated`` is a database with the site's tables."""
        self._server = server
        self._servers = bootstrap_servers
        self._migrated = migrated
        self.name = f"bench_{uuid.uuid4().hex[:8]}"
        self.shared = Broker(bootstrap_servers, f"{self.name}.all.")
        self.database = _address(server, self.name)
        """The database that is copied."""
        self._create(self.name, migrated)

    @contextmanager
    def place(self, *, is_filled: bool = True) -> Iterator[Place]:
        """A place for one run, with or without what was prepared; it is gone afterwards."""
        name = f"{self.name}_{uuid.uuid4().hex[:6]}"
        self._create(name, self.name if is_filled else self._migrated)
        broker = Broker(self._servers, f"{name}.")
        try:
            yield Place(_address(self._server, name), broker, name, self.shared)
        finally:
            _drop(self._server, name)
            delete_topics(broker)

    def close(self) -> None:
        _drop(self._server, self.name)
        delete_topics(self.shared)

    def _create(self, name: str, template: str) -> None:
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")


@contextmanager
def migrated_database(server: str) -> Iterator[str]:
    """The name of a database with the site's tables, made once for all variants."""
    name = f"bench_{uuid.uuid4().hex[:8]}_site"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        _migrate(_address(server, name))
        yield name
    finally:
        _drop(server, name)


def _migrate(database: str) -> None:
    """Set this process's Django up on the database, and make the tables."""
    os.environ |= {"DATABASE_URL": database, "DJANGO_SETTINGS_MODULE": "benchmarks.site.settings"}
    import django
    from django.core.management import call_command
    from django.db import connections

    django.setup()
    connections["default"].settings_dict["NAME"] = urlsplit(database).path[1:]  # where Django was set up before
    connections.close_all()
    call_command("migrate", verbosity=0)
    connections.close_all()


def delete_topics(broker: Broker) -> None:
    """Delete every topic of the broker's prefix."""
    names = [name for name in broker.admin.list_topics(timeout=60).topics if name.startswith(broker.prefix)]
    for done in broker.admin.delete_topics(names).values() if names else ():
        done.result()


def _address(server: str, database: str) -> str:
    return urlsplit(server)._replace(path=f"/{database}").geturl()


def _drop(server: str, name: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
