"""Prometheus: what is counted, where it is read, and that nothing of it ever hurts an event."""

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.test import Client, RequestFactory, override_settings
from prometheus_client import REGISTRY, Histogram

from django_events import (
    Backoff,
    ConsumerGroup,
    DeliveryFailed,
    Event,
    IgnoreError,
    OnFailure,
    broadcast,
    exposition,
    metrics,
)
from django_events.consuming import repair
from django_events.consuming.announcing import say_what_follows
from django_events.consuming.group import GroupThread
from django_events.consuming.limits import Limits
from django_events.consuming.outcome import LetterRefused
from django_events.consuming.policy import Again
from django_events.consuming.service import Service
from django_events.exceptions import BrokerUnavailable, ConsumerFailed
from django_events.following.reader import Reader
from django_events.kafka import topics
from django_events.kafka.record import Partition
from django_events.metrics import Metric, prometheus
from django_events.models import DeadLetter, OutgoingEvent
from django_events.producing.catchup import Catchup
from django_events.producing.holds import INCOMPLETE, Holds
from django_events.producing.immediate import immediate
from django_events.stopping import Stop
from django_events.testing import sending
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_made
from tests.letters import a_letter, project
from tests.metering import gauges, names, read, value, values
from tests.processes import ROOT, Site
from tests.services.server import free_ports
from tests.test_broadcast import noting, numbers, put, running
from tests.waiting import wait_for

Consuming = Callable[..., AbstractContextManager[Service]]

TOPIC = "ledger.entry-made"


@pytest.fixture(autouse=True)
def patient_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables have long for their answer: what a slow machine finds too late is missing on the page."""
    monkeypatch.setattr(exposition, "PATIENCE", 60.0)


@pytest.fixture
def created(broker: Broker) -> None:
    topics.create_missing([TOPIC, "ledger.entry-closed"], timeout=60)
    wait_for(lambda: broker.exists(TOPIC) and broker.exists("ledger.entry-closed"))


def save(count: int = 1) -> None:
    with transaction.atomic():
        entry_made.send_many([entry_made.event(EntryMade("ann", n), key=str(n)) for n in range(count)])


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def documented() -> dict[str, tuple[str, list[str]]]:
    """The type and labels of each metric in the tables of the page."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+)[^|]* \| ([^|]*) \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    return {f"django_events_{name}": (kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels in rows}


def test_every_metric_is_in_the_docs_and_every_one_there_exists() -> None:
    kinds = {"reading": "gauge"}
    assert documented() == {each.name: (kinds.get(each.kind, each.kind), list(each.labels)) for each in metrics.ALL}


def test_names_are_as_prometheus_wants_them_and_labels_are_of_things_that_are_few() -> None:
    for each in metrics.ALL:
        assert re.fullmatch(r"django_events_[a-z_]+", each.name)
        assert each.name.endswith("_total") == (each.kind == "counter"), each.name
        assert not {"key", "id", "event", "partition", "error"} & set(each.labels), each.name


def test_every_metric_of_the_go_library_has_its_row() -> None:
    page = (ROOT / "docs/metrics.md").read_text().partition("## Coming from Go")[2]
    for name in (
        *("dead_letter_produce", "dead_letter_consume", "errors", "handler_errors", "handler_panic", "handler_success"),
        *("consumer_group_queue_concurrency_demand", "consumer_group_queue_concurrency_wait"),
        *("handler_queue_concurrency_demand", "handler_queue_concurrency_wait", "active_queue_concurrency_demand"),
        *("active_queue_concurrency_wait", "handler_latencies", "unfinished_handler_time", "messages_consumed"),
        *("messages_produced", "batches_in_tx", "transmission_latency", "acknowledgement_latency"),
        *("batch_handler_concurrency", "batch_handler_queued", "post_tx_produce_seconds"),
    ):
        assert f"`{name}`" in page
    ours = {each.name.removeprefix("django_events_") for each in metrics.ALL}
    right = [row.split("|")[2] for row in page.replace("\\|", "").splitlines() if row.startswith("| `")]
    assert right and all(set(re.findall(r"`(\w+)[`{]", cell)) <= ours for cell in right)


# ── without it, and when it fails ────────────────────────────────────────────────────────────────────────────────────

USE = """
import sys
{block}
import django, django_events
django.setup()
import django.urls
django.urls.get_resolver().url_patterns
print([name for name in sys.modules if name.startswith("prometheus_client")])
import django_events.consuming.service, django_events.producing.relay
from django.core.management import load_command_class
load_command_class("django_events", "consume")
from django_events import Topic, metrics
from django_events.producing.produce import encode
encode(Topic("t", dict).event({{}}))
metrics.SENT.of("t", "relay").add()
metrics.ROUND_EVENTS.of("relay").observe(1)
metrics.LAG.of("g", "t").set(1)
print([name for name in sys.modules if name.startswith("prometheus_client")])
"""


def python(code: str, **env: str) -> list[str]:
    """The lines that this code prints."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.web.settings", **env}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_without_the_extra_nothing_of_it_is_imported() -> None:
    assert python(USE.format(block="sys.modules['prometheus_client'] = None")) == ["['prometheus_client']"] * 2


def test_with_the_extra_it_is_imported_when_something_is_sent_or_consumed() -> None:
    before, after = python(USE.format(block=""))
    assert before == "[]"
    assert "prometheus_client" in after


def test_without_the_extra_the_page_and_the_port_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "is_there", False)
    with override_settings(ROOT_URLCONF="tests.web.urls"):
        answer = Client().get("/metrics")
    assert answer.status_code == 501
    assert b"pip install 'django-events-kafka[prometheus]'" in answer.content
    with pytest.raises(CommandError, match="pip install"):
        call_command("catchup", "--metrics-port=1")


@pytest.mark.parametrize("given", ["0", "65536", "http", "-1"])
def test_a_port_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(CommandError, match="is not a port, 1 to 65535"):
        call_command("consume", f"--metrics-port={given}")


def test_an_address_alone_is_refused() -> None:
    with pytest.raises(CommandError, match="--metrics-address is for --metrics-port"):
        call_command("catchup", "--metrics-address=127.0.0.1")


def test_a_client_that_fails_raises_nothing_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    series = metrics.SENT.of("failing", "relay")
    monkeypatch.setattr(series._child, "inc", fail)
    monkeypatch.setattr(metrics.SENT._family, "labels", fail)
    with caplog.at_level(logging.ERROR, "django_events.metrics"):
        for _ in range(3):
            series.add()
            metrics.SENT.of("never seen", "relay").add()
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 2  # what adds has failed, and what makes series
    assert all("Events go on without their metrics; this is said once" in text for text in texts)


AGAIN = """
import importlib, sys, django
django.setup()
from django_events import metrics
for name in [name for name in sys.modules if name.startswith("django_events.metrics")]:
    del sys.modules[name]
metrics = importlib.import_module("django_events.metrics")
metrics.SENT.of("t", "relay").add()
print("no error")
"""


def test_importing_it_twice_is_no_error() -> None:
    assert python(AGAIN) == ["no error"]


def test_a_directory_that_is_not_there_hurts_nobody(tmp_path: Path) -> None:
    use = "from django_events import metrics; metrics.SENT.of('t', 'now').add(); print('on')"
    assert python(f"import django; django.setup(); {use}", PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "nowhere")) == ["on"]


def test_topics_that_are_named_at_run_time_do_not_make_endless_series() -> None:
    metric = Metric("counter", "django_events_tests_of_many_total", "…", ["topic"])
    for number in range(10_000):
        metric.of(f"tenant-{number}").add()
    assert metric._family is not None
    (family,) = metric._family.collect()
    counts = [sample for sample in family.samples if sample.name == metric.name]
    assert len(counts) == metrics.MOST + 1
    assert value(metric, prometheus.OTHER) == 10_000 - metrics.MOST
    metric.of("tenant-1").add()
    assert value(metric, "tenant-1") == 2


SEEN = [0.5, 1.0, 1.0, 1.5, 2.0, 7.0, 0.0, 5.0]
"""Some are a bucket's own bound, and one is beyond all bounds."""


def test_many_values_are_seen_as_one_by_one() -> None:
    together, singly = (Histogram("tests_of_many", "…", registry=None, buckets=(1, 2, 5)) for _ in range(2))
    prometheus.Series(together).observe_all(SEEN)
    assert prometheus._observe_by_bucket(Histogram("tests_of_parts", "…", registry=None), SEEN)
    for seen in SEEN:
        prometheus.Series(singly).observe(seen)
    pages = [[each[:3] for each in histogram._samples() if each[0] != "_created"] for histogram in (together, singly)]
    assert pages[0] == pages[1]
    assert ("_count", {}, len(SEEN)) in pages[0]
    assert ("_bucket", {"le": "1.0"}, 4) in pages[0]


def test_a_histogram_of_other_parts_is_told_one_value_after_the_other() -> None:
    told: list[float] = []
    prometheus.Series(SimpleNamespace(observe=told.append)).observe_all(SEEN)
    assert told == SEEN


FORK = """
import os, threading
import django
django.setup()
from django_events import metrics

def count():
    while True:
        metrics.SEND_DELAY.of("t", "relay").observe(1)

for _ in range(4):
    threading.Thread(target=count, daemon=True).start()
for _ in range(100):
    child = os.fork()
    if not child:
        metrics.SEND_DELAY.of("t", "relay").observe(1)
        metrics.SENT.of("t", str(os.getpid())).add()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
print("all", flush=True)
os._exit(0)
"""


def test_a_fork_in_the_middle_of_counting_finds_no_lock_taken() -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout == "all\n", done.stderr


# ── sending ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("patient_sender")
def test_what_is_saved_and_what_catchup_sends(broker: Broker, created: None) -> None:
    saved = value(metrics.SAVED, TOPIC)
    labels = TOPIC, "catchup"
    sent = value(metrics.SENT, *labels)
    delays = value(metrics.SEND_DELAY, *labels, part="_count")
    rounds = value(metrics.ROUND_SECONDS, "catchup", "sent", part="_count")
    events = value(metrics.ROUND_EVENTS, "catchup", part="_sum")
    save(5)
    assert value(metrics.SAVED, TOPIC) == saved + 5
    assert value(metrics.OUTBOX_WAITING, "default", TOPIC) == 5
    assert Catchup(["default"]).run_once(Stop()).sent == 5
    assert value(metrics.SENT, *labels) == sent + 5
    assert value(metrics.SEND_DELAY, *labels, part="_count") > delays
    assert value(metrics.ROUND_SECONDS, "catchup", "sent", part="_count") > rounds
    assert value(metrics.ROUND_EVENTS, "catchup", part="_sum") == events + 5
    assert value(metrics.OUTBOX_WAITING, "default", TOPIC) == 0


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_the_relay_and_send_now_have_methods_of_their_own(broker: Broker, created: None, settings: Any) -> None:
    relay, now = value(metrics.SENT, TOPIC, "relay"), value(metrics.SENT, TOPIC, "now")
    with sending():
        save(2)
        entry_made.send_now(EntryMade("ann", 1), timeout=60)
        wait_for(lambda: value(metrics.SENT, TOPIC, "relay") == relay + 2)
        assert value(metrics.SENT, TOPIC, "now") == now + 1
        failures = value(metrics.NOT_SENT, TOPIC, "now", "unanswered")
        immediate._discard()
        settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA": {"bootstrap.servers": "127.0.0.1:1"}}
        with pytest.raises(DeliveryFailed):
            entry_made.send_now(EntryMade("ann", 1), timeout=0.5)
        assert value(metrics.NOT_SENT, TOPIC, "now", "unanswered") == failures + 1


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("patient_sender")
def test_what_kafka_refuses_is_counted_and_shown(broker: Broker) -> None:
    broker.create(TOPIC, max_message_bytes="2000")
    refused = value(metrics.NOT_SENT, TOPIC, "catchup", "refused")
    with transaction.atomic():
        entry_made.send(EntryMade("a" * 5_000, 1), key="ann")
    Catchup(["default"]).run_once(Stop())
    assert OutgoingEvent.objects.get().lane is None
    assert value(metrics.NOT_SENT, TOPIC, "catchup", "refused") == refused + 1
    assert value(metrics.OUTBOX_SET_ASIDE, "default", TOPIC) == 1


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_an_outage_is_counted(settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA": {"bootstrap.servers": "127.0.0.1:1"}}
    errors = value(metrics.ERRORS, "kafka")
    save()
    catchup = Catchup(["default"])
    catchup._guarded_pass("default", Stop())
    catchup.close()
    assert value(metrics.ERRORS, "kafka") == errors + 1


def errors_by(category: str, act: Callable[[], object]) -> float:
    before = value(metrics.ERRORS, category)
    act()
    return value(metrics.ERRORS, category) - before


def test_each_thing_that_can_go_wrong_has_its_category(declarations: None) -> None:
    thread = GroupThread(ConsumerGroup("metered-errors"), Limits(), print)
    thread._consumer = cast(Any, SimpleNamespace(take_uncommitted=lambda: {Partition(TOPIC, 0)}))
    reader = Reader([], print, print)
    refused, again = LetterRefused("no room"), Again(1.0, counts=False)
    work = cast(Any, SimpleNamespace(delays=1))
    assert errors_by("commit", lambda: thread._commit([], wait=False)) == 1
    assert errors_by("broadcast", lambda: reader._wait_after(BrokerUnavailable("away"), block=False)) == 1
    assert errors_by("dead_letter_topic", lambda: say_what_follows(work, refused, again)) == 1
    assert errors_by("topic", lambda: Holds().hold("gone", "Kafka lacks it", INCOMPLETE)) == 1


# ── consuming ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def group(declarations: None) -> ConsumerGroup:
    """With a name that no other test counts under."""
    return ConsumerGroup(f"metered-{uuid.uuid4().hex[:10]}")


@pytest.mark.kafka
@pytest.mark.postgres
def test_outcomes_durations_and_delays_of_handlers(
    broker: Broker, created: None, group: ConsumerGroup, consuming: Consuming
) -> None:
    tries: list[int] = []

    @group.exactly_once(entry_made, retry=Backoff(first=0.01, max=0.01), on_failure=OnFailure.DISCARD, timeout=0.2)
    def book(event: Event[EntryMade]) -> None:
        tries.append(event.payload.number)
        if event.payload.number == 1:
            raise IgnoreError
        if event.payload.number == 2:
            raise ValueError("two is not liked")

    def outcomes(what: str) -> float:
        return value(metrics.HANDLER_OUTCOMES, group.name, "book", TOPIC, what)

    for number in (0, 1, 2, 3):
        put(broker, number, key=str(number))
    header = [("ce_id", b"7"), ("ce_source", b"tests")]
    for _ in range(2):  # the same event, as a sender that is killed may write it
        broker.put(TOPIC, b'{"account":"a","number":7}', key=b"7", headers=[*header, ("ce_specversion", b"1.0")])
    with consuming(group):
        wait_for(lambda: outcomes("handled") == 3 and outcomes("duplicate") == 1 and outcomes("discarded") == 1)
        wait_for(lambda: outcomes("ignored") == 1)
        wait_for(lambda: value(metrics.RECORDS_CONSUMED, group.name, TOPIC) == 6)
        wait_for(lambda: value(metrics.LAST_COMMIT, group.name) > time.time() - 600)
    assert outcomes("again") == tries.count(2) - 1 > 0
    assert value(metrics.HANDLER_DURATION, group.name, "book", part="_count") == len(tries)
    assert value(metrics.HANDLE_DELAY, group.name, "book", TOPIC, part="_count") >= 1
    assert value(metrics.RECEIVE_DELAY, group.name, TOPIC, part="_count") >= 1
    assert value(metrics.HANDLER_BATCH, group.name, "book", part="_sum") >= 6


@pytest.mark.kafka
@pytest.mark.postgres
def test_how_far_a_group_is_and_what_it_has_in_hand(
    broker: Broker, created: None, group: ConsumerGroup, consuming: Consuming
) -> None:
    may_go_on = threading.Event()

    @group.idempotent(entry_made, concurrency=1)
    def wait(event: Event[EntryMade]) -> None:
        may_go_on.wait(60)

    labels = group.name, "wait"
    for number in range(4):
        put(broker, number, key=str(number))
    with consuming(group):
        try:
            wait_for(lambda: value(metrics.HANDLER_RUNNING, *labels) + value(metrics.HANDLER_WAITING, *labels) == 4)
            wait_for(lambda: value(metrics.LAG, group.name, TOPIC) == 4)
            wait_for(lambda: value(metrics.OLDEST_UNHANDLED, group.name, TOPIC) > 0)
            wait_for(lambda: value(metrics.HANDLER_LONGEST, *labels) > 0)
            wait_for(lambda: value(metrics.IN_FLIGHT, group.name) == 4)
            assert value(metrics.HANDLER_BATCHES, *labels) == 1
            assert value(metrics.HANDLER_RUNNING, *labels) >= 1
            assert value(metrics.ASSIGNED, group.name) == 2
            assert value(metrics.PAUSED, group.name) == 0
            assert value(metrics.REBALANCES, group.name, "assigned") >= 1
            assert time.time() - 60 < value(metrics.LAST_POLL, group.name) <= time.time()
        finally:
            may_go_on.set()
        wait_for(lambda: value(metrics.LAG, group.name, TOPIC) == 0)
        wait_for(lambda: value(metrics.IN_FLIGHT, group.name) == 0)
        assert value(metrics.OLDEST_UNHANDLED, group.name, TOPIC) == 0
    assert value(metrics.ASSIGNED, group.name) == 0
    assert value(metrics.REBALANCES, group.name, "revoked") == 1


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_group_that_was_stopped_tells_nothing_more_and_one_that_has_died_does(
    broker: Broker, created: None, group: ConsumerGroup, consuming: Consuming, monkeypatch: pytest.MonkeyPatch
) -> None:
    @group.idempotent(entry_made)
    def note(event: Event[EntryMade]) -> None: ...

    def die(*_: object) -> int:
        raise ConsumerFailed("Kafka refuses the group")

    told = {each.name for each in metrics.ALL if each.kind == "gauge" and "group" in each.labels}
    put(broker, 1)
    with consuming(group) as service, monkeypatch.context() as dying:
        wait_for(lambda: gauges("group", group.name) == told)
        dying.setattr(GroupThread, "_poll", die)
        wait_for(lambda: service._groups[0].error)
    assert gauges("group", group.name) == told
    with consuming(group):
        wait_for(lambda: value(metrics.ASSIGNED, group.name) == 2)
    assert not gauges("group", group.name)
    assert value(metrics.RECORDS_CONSUMED, group.name, TOPIC) == 1


@pytest.mark.kafka
@pytest.mark.postgres
def test_partitions_of_which_too_much_is_in_hand_are_paused(
    broker: Broker, created: None, declarations: None, consuming: Consuming
) -> None:
    group = ConsumerGroup("metered-full", max_outstanding=3)
    may_go_on = threading.Event()

    @group.idempotent(entry_made)
    def wait(event: Event[EntryMade]) -> None:
        may_go_on.wait(60)

    for number in range(10):
        put(broker, number, key="ann", partition=0)
    with consuming(group):
        try:
            wait_for(lambda: value(metrics.PAUSED, group.name) == 1)
        finally:
            may_go_on.set()
        wait_for(lambda: value(metrics.PAUSED, group.name) == 0)


@pytest.mark.kafka
@pytest.mark.postgres
def test_the_way_of_a_dead_letter(broker: Broker, created: None, group: ConsumerGroup, consuming: Consuming) -> None:
    is_ill = [True]

    @group.idempotent(entry_made, retry=False, on_failure=OnFailure.SAVE)
    def treat(event: Event[EntryMade]) -> None:
        if is_ill[0]:
            raise ValueError("ill")

    put(broker, 1)
    labels = group.name, "treat", TOPIC
    with consuming(group):
        wait_for(lambda: value(metrics.LETTERS_READ, group.name, TOPIC) == 1)
        assert value(metrics.HANDLER_OUTCOMES, *labels, "buried") == 1
        wait_for(lambda: value(metrics.LETTERS_WRITTEN, *labels) == 1)  # who reads it may be quicker than who wrote it
        assert value(metrics.DEAD_LETTERS, group.name, "treat", "kept") == 1
        assert value(metrics.DEAD_LETTERS_OLDEST, group.name, "treat") > 0
        repair.retry([DeadLetter.objects.get().pk])
        wait_for(lambda: value(metrics.LETTER_ATTEMPTS, *labels, "failed") == 1)
        is_ill[0] = False
        repair.retry([DeadLetter.objects.get().pk])
        wait_for(lambda: value(metrics.LETTER_ATTEMPTS, *labels, "resolved") == 1)
    assert value(metrics.DEAD_LETTERS, group.name, "treat", "kept") == 0


@pytest.mark.django_db(transaction=True)
def test_letters_are_counted_that_were_discarded_and_not_those_whose_transaction_was_rolled_back() -> None:
    project(a_letter(key="a"), a_letter(key="b"), a_letter(key="c"))
    one, two, three = DeadLetter.objects.values_list("pk", flat=True)
    labels = "clinic", "cure", DeadLetter.objects.earliest("pk").topic
    before = value(metrics.LETTERS_DISCARDED, *labels)
    with transaction.atomic():
        repair.discard([three], "no", "ann")
        transaction.set_rollback(True)
    repair.discard([one, two], "no", "ann")
    repair.discard([one], "again", "ann")
    assert value(metrics.LETTERS_DISCARDED, *labels) == before + 2


@pytest.mark.django_db(transaction=True)
def test_open_letters_are_counted_by_state_and_closed_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    project(a_letter(key="a"), a_letter(key="b"), a_letter(key="c", automatic=False), a_letter(key="d"))
    DeadLetter.objects.filter(key_text="b").update(state="running")
    DeadLetter.objects.filter(key_text="d").update(state="discarded")
    found = {state: value(metrics.DEAD_LETTERS, "clinic", "cure", state) for state in ("waiting", "running", "kept")}
    assert found == {"waiting": 1, "running": 1, "kept": 1}
    assert value(metrics.DEAD_LETTERS_OLDEST, "clinic", "cure") > 0
    monkeypatch.setattr("django_events.models.dead_letters.COUNTED", 2)
    assert sum(letters.number for letters in DeadLetter.objects.open_by_handler("default")) == 2


# ── broadcast ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.kafka
def test_broadcast_handlers_count_under_no_group(
    broker: Broker, created: None, declarations: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "BROADCAST_HEARTBEAT": 0.5}
    monkeypatch.setattr(Backoff, "delay", lambda self, tries: 0.05)
    seen = noting(name="metered")

    @broadcast(entry_made, name="drops", timeout=0.3)
    def drops(event: Event[EntryMade]) -> None:
        raise ValueError("nothing is liked")

    with running() as broadcast_:
        put(broker, 1)
        wait_for(lambda: value(metrics.HANDLER_OUTCOMES, "", "drops", TOPIC, "discarded") == 1)
        wait_for(lambda: numbers(seen) == [1])
        wait_for(lambda: value(metrics.HANDLER_OUTCOMES, "", "metered", TOPIC, "handled") == 1)
        wait_for(lambda: 0 < value(metrics.BROADCAST_LATENCY, "metered") < 60)
        broadcast_._handlers["metered"].stop(0)  # as if an error had ended it
        wait_for(lambda: value(metrics.BROADCAST_LATENCY, "metered") == float("inf"))
    assert value(metrics.HANDLER_OUTCOMES, "", "drops", TOPIC, "again") > 0
    assert not gauges("handler", "metered") | gauges("handler", "drops")


@pytest.mark.kafka
def test_gaps_are_counted(broker: Broker, created: None, declarations: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_events.following.reader.LOOK_EVERY", 0.2)
    seen = noting(name="gapped")
    with running():
        put(broker, 1)
        wait_for(lambda: seen)
        broker.delete(TOPIC)
        topics.create_missing([TOPIC], timeout=60)
        put(broker, 2)
        wait_for(lambda: value(metrics.BROADCAST_GAPS, "gapped") > 0)


# ── the port ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def page_with_tables(port: int) -> str:
    """A page of the process on this port on which no table is missing: it gives them two seconds."""

    def look() -> str:
        page = read(port)
        return page if values(page, metrics.TABLES_READ) == [1.0] else ""

    return wait_for(look)


@pytest.mark.kafka
@pytest.mark.postgres
def test_consume_and_catchup_answer_on_their_ports(site: Site, broker: Broker, created: None) -> None:
    first, second = free_ports(2)
    consumer = site.start("consume", "audit", f"--metrics-port={first}")
    catchup = site.start("catchup", f"--metrics-port={second}")
    consumer.says(f"Metrics are at http://127.0.0.1:{first}/metrics")
    catchup.says("Catching up")
    save(3)
    wait_for(lambda: values(read(second), metrics.SENT) == [3.0])
    wait_for(lambda: sum(values(read(first), metrics.HANDLER_OUTCOMES)) >= 3.0)
    page = page_with_tables(first)
    assert values(page, metrics.BUILD) == [1.0]
    assert "process_resident_memory_bytes" in names(page)
    for process in (consumer, catchup):
        process.signal(signal.SIGTERM)
        process.succeeds()


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_port_that_is_taken_is_one_line_in_the_log_and_events_go_on(
    site: Site, broker: Broker, created: None
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        consumer = site.start("consume", "audit", f"--metrics-port={port}")
        catchup = site.start("catchup", f"--metrics-port={port}", "--metrics-address=192.0.2.1")
        consumer.says(f"it cannot have port {port} of 127.0.0.1")
        catchup.says(f"it cannot have port {port} of 192.0.2.1")
        save(1)
        wait_for(lambda: broker.committed("audit", TOPIC, 0) or broker.committed("audit", TOPIC, 1))
        for process in (consumer, catchup):
            process.signal(signal.SIGTERM)
            output = process.succeeds()
            assert output.count("it cannot have port") == 1
            assert "Traceback" not in output


@pytest.mark.parametrize("address", ["metrics..example", "a" * 64])
def test_an_address_that_is_no_name_is_one_line_in_the_log(address: str, caplog: pytest.LogCaptureFixture) -> None:
    (port,) = free_ports(1)
    exposition.serve(port, address)
    (record,) = caplog.records
    assert f"it cannot have port {port} of {address}" in record.getMessage()


# ── a database that hangs ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def quick_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_events.exposition.PATIENCE", 0.5)


@pytest.fixture
def locked(transactional_db: None) -> Iterator[Callable[[], None]]:
    """Somebody has the outbox for himself, until this is called."""
    other = connections.create_connection("default")
    other.set_autocommit(False)
    with other.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {OutgoingEvent._meta.db_table} IN ACCESS EXCLUSIVE MODE")
    yield other.close
    other.close()


def looks() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "django-events-metrics-default"]


@pytest.mark.postgres
def test_tables_that_do_not_answer_are_missing_on_the_page_and_come_back(
    quick_page: None, locked: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "django_events.metrics"):
        page = _page()
        assert values(page, metrics.TABLES_READ) == [0.0]
        assert values(page, metrics.OUTBOX_WAITING) == []
        assert values(page, metrics.BUILD) == [1.0]
        locked()
        wait_for(lambda: values(_page(), metrics.TABLES_READ) == [1.0])
    assert "Reading the tables of default for metrics" in caplog.text
    assert "works again" in caplog.text


def _page() -> str:
    found = exposition.page()
    assert found
    return found[0].decode()


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_no_second_look_begins_while_one_hangs(quick_page: None, monkeypatch: pytest.MonkeyPatch) -> None:
    may_go_on = threading.Event()
    monkeypatch.setattr("django_events.exposition._outbox", lambda using: [may_go_on.wait(60)][:0])
    try:
        assert values(_page(), metrics.TABLES_READ) == [0.0]
        (hanging,) = looks()
        assert values(_page(), metrics.TABLES_READ) == [0.0]
        assert looks() == [hanging]
    finally:
        may_go_on.set()
        hanging.join()


class Hanging:
    """A collector of the site's own."""

    def __init__(self) -> None:
        self.is_asked, self.may_go_on = threading.Event(), threading.Event()

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> list[Any]:
        self.is_asked.set()
        self.may_go_on.wait(120)
        return []


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.usefixtures("patient_sender")
def test_a_collector_that_hangs_holds_up_no_event(
    broker: Broker, created: None, group: ConsumerGroup, consuming: Consuming
) -> None:
    booked: list[int] = []

    @group.exactly_once(entry_made)
    def book(event: Event[EntryMade]) -> None:
        booked.append(event.payload.number)

    hanging = Hanging()
    REGISTRY.register(hanging)
    asking = threading.Thread(target=_page)
    asking.start()
    try:
        assert hanging.is_asked.wait(60)
        save(3)
        assert Catchup(["default"]).run_once(Stop()).sent == 3
        with consuming(group):
            wait_for(lambda: sorted(booked) == [0, 1, 2])
        assert asking.is_alive()
    finally:
        hanging.may_go_on.set()
        REGISTRY.unregister(hanging)
        asking.join()


def test_without_tables_no_database_is_touched(settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "DATABASES": []}
    page = _page()  # pytest-django lets no test touch a database that has not asked for it
    assert values(page, metrics.TABLES_READ) == []
    assert values(page, metrics.BUILD) == [1.0]


# ── web processes ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.django_db(transaction=True)
@override_settings(ROOT_URLCONF="tests.web.urls")
def test_the_view_shows_what_this_process_has_counted_and_what_the_tables_say() -> None:
    save(2)
    answer = Client().get("/metrics")
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain; version=")
    assert answer["Cache-Control"]
    assert values(answer.content.decode(), metrics.OUTBOX_WAITING) == [2.0]
    assert Client().post("/metrics").status_code == 405


@pytest.mark.django_db
@override_settings(ROOT_URLCONF="tests.web.urls")
def test_atomic_requests_open_no_transaction_for_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    before = len(connections["default"].savepoint_ids)
    seen: list[int] = []

    def page() -> tuple[bytes, str]:
        seen.append(len(connections["default"].savepoint_ids))
        return b"", "text/plain"

    monkeypatch.setattr(exposition, "page", page)
    assert Client().get("/metrics").status_code == 200
    assert seen == [before]


@override_settings(METRICS_TOKEN="secret")
def test_the_view_of_the_docs_lets_nobody_read_without_the_token(settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "DATABASES": []}
    page = (ROOT / "docs/prometheus.md").read_text()
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "constant_time" in block]
    names: dict[str, Any] = {}
    exec(code, names)
    view, request = names["protected_metrics"], RequestFactory()
    assert not view.login_required and view._non_atomic_requests == {"default"}
    assert view(request.get("/", headers={"Authorization": "Bearer guess"})).status_code == 403
    assert view(request.get("/")).status_code == 403
    assert view(request.get("/", headers={"Authorization": "Bearer secret"})).status_code == 200


@pytest.mark.kafka
@pytest.mark.postgres
def test_the_page_of_several_workers_has_their_sums_and_the_tables_once(
    site: Site, broker: Broker, created: None, tmp_path: Path
) -> None:
    workers = 3
    folder = tmp_path / "metrics"
    folder.mkdir()
    (port,) = free_ports(1)
    server = site.start_module(
        *("gunicorn", "tests.web.wsgi", f"--workers={workers}", "--preload", f"--bind=127.0.0.1:{port}"),
        DJANGO_SETTINGS_MODULE="tests.web.settings",
        START_BROADCAST="false",
        PROMETHEUS_MULTIPROC_DIR=str(folder),
        LINES=str(tmp_path),
    )
    server.says("Booting worker")
    processes: set[str] = set()
    requests = 0

    def all_have_sent() -> bool:
        nonlocal requests
        processes.add(read(port, "send"))
        requests += 1
        return len(processes) == workers

    wait_for(lambda: _answers(port))
    wait_for(all_have_sent)
    for _ in range(workers):
        assert values(read(port), metrics.SAVED) == [requests]
    wait_for(lambda: values(read(port), metrics.SENT) == [requests])
    assert values(page_with_tables(port), metrics.BUILD) == [1.0]
    server.signal(signal.SIGTERM)
    assert server.ends() == 0, server.output


def _answers(port: int) -> bool:
    try:
        read(port, "")
    except OSError:
        return False
    return True


# ── what it costs ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.django_db
def test_counting_makes_no_statement(django_assert_num_queries: Any) -> None:
    with transaction.atomic(), django_assert_num_queries(1):
        entry_made.send(EntryMade("ann", 1), key="ann")
