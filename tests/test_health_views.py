"""Liveness and readiness: what they tell, whom they ask, and that an outage of Kafka ends no process."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from django.db import OperationalError, connections
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.urls import path

from django_events import ConsumerGroup, DeliveryFailed, Event, broadcast, health
from django_events.consuming import service as service_module
from django_events.consuming import slowness
from django_events.consuming.service import Service
from django_events.exceptions import BrokerUnavailable
from django_events.kafka import topics
from django_events.producing import immediate as immediate_module
from django_events.producing import relay as relay_module
from django_events.producing.immediate import immediate
from django_events.producing.relay import Relay, _RelayThread
from django_events.producing.sender import Sender
from django_events.retry import Backoff
from django_events.testing import sending
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_made
from tests.waiting import wait_for

urlpatterns = [
    path("livez", health.live),
    path("readyz", health.ready),
    path("readyz-with-kafka", health.ready, {"kafka": True, "broadcast": True}),
]

pytestmark = pytest.mark.urls(__name__)

Consuming = Callable[..., AbstractContextManager[Service]]


@pytest.fixture(autouse=True)
def nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_migrated", set())
    monkeypatch.setattr(health, "_said", {})


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """One of the test's own, which health looks at."""
    relay = Relay()
    monkeypatch.setattr(health, "relay", relay)
    yield relay
    assert relay.stop(120)


def start(relay: Relay) -> None:
    relay._start(_RelayThread("default"))


# ── liveness ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_process_in_which_nothing_runs_is_alive(client: Client) -> None:
    response = client.get("/livez")
    assert response.status_code == 200
    assert response.json() == {"live": True, "checks": {"relay": True, "broadcast": True, "services": True}}
    assert "no-store" in response["Cache-Control"]


def test_liveness_asks_no_database(client: Client) -> None:
    client.get("/livez")  # without the mark that allows it


def test_a_relay_that_hangs_is_told_until_it_goes_on(
    client: Client, relay: Relay, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    may_go_on = threading.Event()
    monkeypatch.setattr(relay_module, "LONGEST_STEP", 0.1)
    monkeypatch.setattr(_RelayThread, "_warm_up", lambda *_: may_go_on.wait())
    start(relay)
    wait_for(lambda: client.get("/livez").status_code == 503)
    assert client.get("/livez").json()["checks"]["relay"] is False
    may_go_on.set()
    wait_for(lambda: client.get("/livez").status_code == 200)
    assert caplog.text.count("This process is not live: the thread that sends events hangs") == 1
    assert caplog.text.count("This process is live again, as far as relay is concerned") == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_relay_that_has_died_is_told(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(_RelayThread, "_warm_up", die)
    start(relay)
    wait_for(lambda: not health.liveness().is_well)


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_service_that_is_stuck_is_told_while_it_runs(
    broker: Broker, declarations: None, consuming: Consuming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slowness, "LONG", 0.1)
    topics.create_missing(["ledger.entry-made"], timeout=60)
    group, may_end = ConsumerGroup("stuck"), threading.Event()

    @group.idempotent(entry_made)
    def wait(event: Event[EntryMade]) -> None:
        may_end.wait()

    with consuming(group) as service:
        assert service_module.running() == [service]
        wait_for(lambda: health.liveness().is_well)
        assert health.readiness(kafka=True).is_well
        broker.put("ledger.entry-made", b'{"account":"a","number":1}', key=b"a")
        wait_for(lambda: not health.liveness().is_well)
        may_end.set()
        wait_for(lambda: health.liveness().is_well)
    assert service_module.running() == []
    assert health.liveness().is_well


# ── readiness ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.django_db
def test_a_migrated_database_is_ready(client: Client, settings: Any) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    for _ in range(2):  # also when the migrations are not looked for any more
        response = client.get("/readyz")
        assert (response.status_code, response.json()) == (200, {"ready": True, "checks": {"database default": True}})
    assert client.post("/readyz").status_code == 405


@pytest.mark.django_db
def test_a_database_without_our_last_migration_is_not_ready(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    (ours,) = MigrationRecorder.Migration.objects.filter(app="django_events").order_by("-name")[:1]
    MigrationRecorder.Migration.objects.filter(pk=ours.pk).delete()
    for _ in range(3):
        response = client.get("/readyz")
        assert (response.status_code, response.json()["checks"]) == (503, {"database default": False})
    text = f"not ready: database 'default' lacks the migration django_events.{ours.name}: run manage.py migrate"
    assert caplog.text.count(text) == 1
    MigrationRecorder(connections["default"]).record_applied("django_events", ours.name)
    assert client.get("/readyz").status_code == 200
    assert caplog.text.count("This process is ready again") == 1


@pytest.mark.postgres
def test_a_database_that_is_away_is_not_ready_and_its_address_is_told_to_the_log_only(
    client: Client, settings: Any, caplog: pytest.LogCaptureFixture, django_db_blocker: Any
) -> None:
    connections.databases["away"] = {**connections.databases["default"], "HOST": "127.0.0.1", "PORT": "1"}
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "DATABASES": ["away"]}
    try:
        with django_db_blocker.unblock():  # for a database that no test knows of
            response = client.get("/readyz")
    finally:
        del connections["away"]
        del connections.databases["away"]
    assert response.status_code == 503
    assert response.json() == {"ready": False, "checks": {"database away": False}}
    assert "database 'away' does not answer" in caplog.text
    assert b"127.0.0.1" not in response.content


@pytest.mark.django_db
def test_atomic_requests_open_no_transaction_for_it(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    before = len(connections["default"].savepoint_ids)
    seen: list[int] = []

    def look(alias: str) -> str:
        seen.append(len(connections[alias].savepoint_ids))
        return ""

    monkeypatch.setattr(health, "_problem_of_database", look)
    assert client.get("/readyz").status_code == 200
    assert seen == [before]


def test_without_tables_no_database_is_asked(client: Client, settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "DATABASES": []}
    assert client.get("/readyz").json() == {"ready": True, "checks": {}}


# ── Kafka ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.postgres
def test_an_outage_of_kafka_takes_no_process_out_of_service_unless_it_is_asked_for(
    client: Client, relay: Relay, settings: Any, transactional_db: None, caplog: pytest.LogCaptureFixture
) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA": {"bootstrap.servers": "127.0.0.1:1"}}
    assert health.readiness(kafka=True).is_well  # nobody here has needed it
    start(relay)
    wait_for(lambda: relay.trouble)
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 200
    response = client.get("/readyz-with-kafka")
    assert (response.status_code, response.json()["checks"]["kafka"]) == (503, False)
    assert "127.0.0.1:1" in caplog.text
    assert b"127.0.0.1" not in response.content


class LateDatabase:
    """What a relay knows of its database, which is away until it is said to be there."""

    def __init__(self) -> None:
        self.is_there = threading.Event()

    def __getitem__(self, using: str) -> "LateDatabase":
        return self

    def ensure_connection(self) -> None:
        if not self.is_there.is_set():
            raise OperationalError("there is no database")

    def close_all(self) -> None:
        """There is no connection."""


def test_a_relay_that_could_not_connect_and_has_nothing_to_send_asks_until_it_can(
    relay: Relay, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "DATABASES": []}
    kafka_is_there, database = threading.Event(), LateDatabase()

    def connect(_: Sender) -> None:
        if not kafka_is_there.is_set():
            raise BrokerUnavailable("there is no Kafka")

    monkeypatch.setattr(Sender, "connect", connect)
    monkeypatch.setattr(relay_module, "connections", database)
    monkeypatch.setattr(relay_module, "OUTAGE", Backoff(first=0.05, max=0.1))
    start(relay)  # as the first send() of a process, whose transaction is rolled back
    wait_for(lambda: not health.readiness(kafka=True).is_well)
    kafka_is_there.set()
    wait_for(lambda: health.readiness(kafka=True).is_well)
    wait_for(lambda: relay.activity().troubles == ("Reading the outbox of default: there is no database",))
    database.is_there.set()
    wait_for(lambda: not relay.activity().troubles)
    assert caplog.text.count("Sending events to Kafka: there is no Kafka") == 1
    assert caplog.text.count("Sending events to Kafka: works again") == 1
    assert caplog.text.count("Reading the outbox of default: works again") == 1


@pytest.mark.kafka
def test_send_now_in_vain_counts_until_kafka_answers_it_or_for_a_while(
    client: Client, broker: Broker, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {**settings.DJANGO_EVENTS, "DATABASES": []}

    def send_in_vain() -> None:
        immediate._discard()
        settings.DJANGO_EVENTS = {**there, "KAFKA": {"bootstrap.servers": "127.0.0.1:1"}}
        with sending(), pytest.raises(DeliveryFailed):
            entry_made.send_now(EntryMade("ann", 1), timeout=0.5)

    send_in_vain()
    response = client.get("/readyz-with-kafka")
    assert (response.status_code, response.json()["checks"]["kafka"]) == (503, False)
    assert client.get("/readyz").status_code == 200
    settings.DJANGO_EVENTS = there
    with sending():
        entry_made.send_now(EntryMade("ann", 2), timeout=60)
    assert health.readiness(kafka=True).is_well
    send_in_vain()
    assert not health.readiness(kafka=True).is_well
    monkeypatch.setattr(immediate_module, "FORGOTTEN_AFTER", 0.0)
    assert health.readiness(kafka=True).is_well


@pytest.mark.django_db
def test_caches_that_are_not_up_to_date_count_where_they_are_to(declarations: None) -> None:
    assert health.readiness(broadcast=True).is_well  # there are none

    @broadcast(entry_made)
    def note(event: Event[EntryMade]) -> None: ...

    assert health.readiness().is_well
    assert not health.readiness(broadcast=True).is_well
