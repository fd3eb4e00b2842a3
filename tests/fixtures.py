"""Fixtures: a Kafka with names of the test's own, declarations that are forgotten, processes of the site."""

import copy
import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection

from django_events import ConsumerGroup, broadcasting, handlers, repeats, topics
from django_events.consuming.limits import Limits
from django_events.consuming.service import Service
from django_events.kafka import spec
from django_events.producing import courier, patience
from django_events.producing.immediate import immediate
from tests.broker import Broker
from tests.packages import Packages, build, has_source
from tests.processes import Site
from tests.refusing_kafka import RefusingKafka
from tests.services import REQUIRED, installing
from tests.services.installing import Unavailable
from tests.services.kafka import KafkaServer
from tests.services.secure_kafka import SecureKafka
from tests.waiting import wait_for

SESSION = {"session.timeout.ms": 3000, "heartbeat.interval.ms": 500}
"""A killed consumer's partitions are given to others after this; Kafka's default of 45 s would be waited for."""

OF_THIS_PROCESS = {"session.timeout.ms": 45_000}
"""For consumers that nobody kills: no session ends, and no event comes again, because the machine stood still for some
seconds, even twice in a row."""

PROTOCOLS: dict[str, dict[str, Any]] = {
    "cooperative-sticky": SESSION,
    "consumer": {"group.protocol": "consumer"},
    "range": SESSION | {"partition.assignment.strategy": "range"},
}
"""How the processes of a group share its partitions, and the options for it. With the protocol ``consumer`` (KIP-848)
it is the broker that knows the session time-out; with ``range`` all partitions are taken from all at each change."""


@pytest.fixture(autouse=True)
def no_producer_of_an_earlier_test() -> Iterator[None]:
    """What ``send_now`` keeps for a process is of the Kafka, and of the settings, of one test."""
    yield
    immediate._discard()
    immediate._note("")


@pytest.fixture(autouse=True)
def no_line_is_left_out() -> None:
    """What earlier tests have logged does not count."""
    repeats.forget()


@pytest.fixture
def patient_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Kafka that stands still for a while is no outage for senders of this process, and nothing is sent twice."""
    monkeypatch.setattr(courier, "CONNECT_WAIT", 60.0)
    monkeypatch.setattr(courier, "ALONE_WAIT", 60.0)
    monkeypatch.setattr(patience, "SHORTEST", 60.0)


@pytest.fixture
def broker(settings: Any) -> Broker:
    """The real Kafka, in which this test has names of its own; the settings point at it."""
    broker = Broker(os.environ["KAFKA_BOOTSTRAP_SERVERS"], f"t{uuid.uuid4().hex[:10]}.")
    use_broker(settings, broker)
    return broker


@pytest.fixture
def refusing_kafka(settings: Any, declarations: None) -> Iterator[RefusingKafka]:
    """An embedded Kafka without topics; the settings point at it, and there are no tables."""
    with RefusingKafka() as kafka:
        servers = {"bootstrap.servers": kafka.bootstrap_servers}
        settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA": servers, "DATABASES": [], "PREFIX": ""}
        yield kafka


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A Kafka that tests may freeze and kill."""
    server = KafkaServer(tmp_path_factory.mktemp("kafka") / "node", is_killed=True)
    try:
        server.prepare()
        server.restart()
    except Unavailable as error:
        (pytest.fail if os.environ.get(REQUIRED) else pytest.skip)(f"no Kafka of its own: {error}")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """A Kafka that lets nobody in without credentials, and most users only do what they have a right to."""
    server = SecureKafka(tmp_path_factory.mktemp("secure-kafka") / "node")
    try:
        server.prepare()
        server.restart()
    except Unavailable as error:
        (pytest.fail if os.environ.get(REQUIRED) else pytest.skip)(f"no Kafka with security: {error}")
    yield server
    server.stop()


@pytest.fixture
def fragile(kafka_server: KafkaServer, settings: Any) -> Iterator[Broker]:
    """As ``broker``, but on the Kafka that may be frozen and killed; afterwards it works again."""
    broker = Broker(kafka_server.address, f"t{uuid.uuid4().hex[:10]}.")
    wait_for(kafka_server.is_ready)  # Kafka lets a node that an earlier test has frozen in again after a moment
    use_broker(settings, broker)
    yield broker
    kafka_server.resume()
    if not kafka_server.is_running():
        kafka_server.restart()


def use_broker(settings: Any, broker: Broker) -> None:
    """Have this process's settings name this Kafka and its prefix."""
    settings.DJANGO_EVENTS = {
        **settings.DJANGO_EVENTS,
        "KAFKA": {"bootstrap.servers": broker.bootstrap_servers},
        "KAFKA_CONSUMER": SESSION | OF_THIS_PROCESS,
        "PREFIX": broker.prefix,
    }


@pytest.fixture(params=["cooperative-sticky", "consumer"])
def protocol(request: pytest.FixtureRequest, broker: Broker, settings: Any) -> str:
    """Each of the protocols in turn; consumers of this process and of ``site`` use it. Ask for it before ``site``."""
    options = PROTOCOLS[request.param]
    if "session.timeout.ms" in options:
        options = options | OF_THIS_PROCESS
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA_CONSUMER": options}
    return str(request.param)


@pytest.fixture
def declarations(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test declares is forgotten afterwards."""
    for module, name in (
        (topics, "_declared"),
        (spec, "_declared"),
        (handlers, "_groups"),
        (broadcasting, "_declared"),
    ):
        monkeypatch.setattr(module, name, copy.copy(getattr(module, name)))


@pytest.fixture
def site(broker: Broker, transactional_db: None, tmp_path: Path) -> Iterator[Site]:
    """Starts processes of the site on the test's database and Kafka."""
    site = make_site(broker, tmp_path)
    yield site
    site.end()


def make_site(broker: Broker, folder: Path) -> Site:
    """Processes on the test's database and this Kafka; ``end`` it."""
    database = connection.settings_dict
    consumers = dict(django_settings.DJANGO_EVENTS["KAFKA_CONSUMER"])
    if "session.timeout.ms" in consumers:
        consumers |= SESSION  # a process may be killed
    env = {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DATABASE_URL": "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**database),
        "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "KAFKA_CONSUMER": json.dumps(consumers),
        "EVENTS_PREFIX": broker.prefix,
    }
    return Site(env, folder)


@pytest.fixture
def consuming(broker: Broker, transactional_db: None) -> Callable[..., AbstractContextManager[Service]]:
    """``with consuming(group, …): …`` runs groups in this process; entered once Kafka has given them partitions."""

    @contextmanager
    def run(*groups: ConsumerGroup, limits: Limits | None = None) -> Iterator[Service]:
        service = Service(groups, limits=limits)
        service.begin()
        try:
            wait_for(lambda: service.wait(0) or service.is_assigned)
            yield service
        finally:
            assert service.stop(120), "a group did not end"

    return run


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """What would be released."""
    if not has_source():
        pytest.skip("the package's source is not here to be built: this tests an installed wheel")
    return build(tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a browser."""
    try:
        return installing.chromium()
    except Unavailable as error:
        (pytest.fail if os.environ.get(REQUIRED) else pytest.skip)(f"no browser: {error}")
