"""P3 and P5: an outage of Kafka is waited out; rows stay until they are acknowledged, and the site goes on."""

import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from django.db import connection, transaction

from django_events import ConsumerGroup, Event, metrics
from django_events.consuming.service import Service
from django_events.kafka import starting, topics
from django_events.kafka.producer import Producer
from django_events.models import Lane, OutgoingEvent
from django_events.producing import courier
from django_events.producing import relay as relay_thread
from django_events.producing.catchup import Catchup
from django_events.producing.courier import Courier
from django_events.retry import Backoff
from django_events.stopping import Stop
from django_events.testing import sending
from tests.broker import Broker
from tests.fixtures import make_site
from tests.ledger.entries import make_entry
from tests.ledger.events import EntryMade, entry_made
from tests.ledger.models import Account, Entry
from tests.metering import value
from tests.processes import Process, Site
from tests.services.kafka import KafkaServer
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


@pytest.fixture(autouse=True)
def created(fragile: Broker) -> None:
    topics.create_missing(["ledger.entry-made"], timeout=60)


@pytest.fixture
def broker(fragile: Broker) -> Broker:
    """What the fixtures of all tests take for the broker."""
    return fragile


@pytest.fixture
def relay(fragile: Broker, transactional_db: None) -> Iterator[None]:
    with sending():
        yield


@pytest.fixture
def site(fragile: Broker, transactional_db: None, tmp_path: Path) -> Iterator[Site]:
    site = make_site(fragile, tmp_path)
    yield site
    site.end()


def numbers(broker: Broker) -> dict[bytes | None, list[int]]:
    """The numbers of each key in the order of their first delivery."""
    found: dict[bytes | None, list[int]] = defaultdict(list)
    for record in broker.read("ledger.entry-made"):
        if record.payload["number"] not in found[record.key]:
            found[record.key].append(record.payload["number"])
    return found


def in_order() -> dict[bytes, list[int]]:
    """What the accounts know of their events."""
    return {account.name.encode(): [*range(1, account.last + 1)] for account in Account.objects.all()}


def waiting_for_kafka(caplog: Any) -> bool:
    return "Sending events to Kafka:" in caplog.text


def idle_transactions() -> int:
    """Transactions of other connections that are open while nothing is executed in them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND state = 'idle in transaction' AND pid <> pg_backend_pid()"
        )
        return int(cursor.fetchone()[0])


def test_rows_stay_until_the_broker_has_acknowledged_them(
    kafka_server: KafkaServer, fragile: Broker, relay: None, caplog: Any
) -> None:
    make_entry("ann")
    wait_for(lambda: not OutgoingEvent.objects.exists())  # connected: the next record will be on its way at once
    kafka_server.pause()
    for _ in range(10):
        make_entry("ann")
    wait_for(lambda: waiting_for_kafka(caplog))
    assert OutgoingEvent.objects.count() == 10
    kafka_server.resume()
    wait_for(lambda: not OutgoingEvent.objects.exists())
    assert numbers(fragile) == in_order()


def test_while_kafka_is_dead_the_site_goes_on_and_no_transaction_stays_open(
    kafka_server: KafkaServer, fragile: Broker, relay: None, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    tries = count_tries(monkeypatch)
    for number in range(20):
        make_entry(f"account-{number % 4}")
    kafka_server.kill()
    monkeypatch.setattr(courier, "CONNECT_WAIT", 0.6)  # not before: a slow Kafka would be taken for a dead one
    for number in range(200):
        make_entry(f"account-{number % 4}")
    wait_for(lambda: waiting_for_kafka(caplog))
    with transaction.atomic():
        make_entry("late")
    wait_for(lambda: not idle_transactions())
    seen: list[int] = []
    tried = len(tries)
    while len(tries) < tried + 3:
        seen.append(transactions_with_lanes())
    assert max(seen) == 0, "a try has locked lanes although Kafka is known to be away"
    assert OutgoingEvent.objects.exists()
    kafka_server.restart()
    wait_for(lambda: not OutgoingEvent.objects.exists())
    assert numbers(fragile) == in_order()
    wait_for(lambda: "works again" in caplog.text)


def count_tries(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """A list that grows with each try to reach Kafka, which is soon followed by another."""
    tries: list[None] = []
    connect = Courier.connect

    def counted(given: Courier) -> Producer:
        tries.append(None)
        return connect(given)

    monkeypatch.setattr(Courier, "connect", counted)
    monkeypatch.setattr(relay_thread, "OUTAGE", Backoff(first=0.05, max=0.1))
    return tries


def test_catchup_waits_an_outage_out(kafka_server: KafkaServer, fragile: Broker, site: Site) -> None:
    catchup = site.start("catchup", "--interval=0.1")
    for number in range(20):
        make_entry(f"account-{number % 4}")
    kafka_server.kill()
    for number in range(200):
        make_entry(f"account-{number % 4}")
    catchup.says("tried again until it works")
    kafka_server.restart()
    wait_for(lambda: not OutgoingEvent.objects.exists())
    assert numbers(fragile) == in_order()
    catchup.signal(signal.SIGTERM)
    catchup.succeeds()


def test_catchup_once_says_what_kafka_did_not_take(kafka_server: KafkaServer, fragile: Broker, site: Site) -> None:
    make_entry("ann")
    kafka_server.kill()
    catchup = site.start("catchup", "--once")
    assert catchup.ends() == 1
    assert f"CommandError: Kafka at {fragile.bootstrap_servers} does not answer" in catchup.output
    assert OutgoingEvent.objects.count() == 1


def test_a_consumer_waits_an_outage_out(kafka_server: KafkaServer, fragile: Broker, site: Site) -> None:
    consumer = site.start("consume", "ledger")
    consumer.says("ledger.entry-made[0]")
    kafka_server.kill()
    make_entry("ann")
    kafka_server.restart()
    site.start("catchup", "--interval=0.1")
    wait_for(lambda: Entry.objects.filter(account="ann").exists())
    consumer.signal(signal.SIGTERM)
    consumer.succeeds()


def test_a_group_tells_when_it_last_reached_kafka(
    kafka_server: KafkaServer,
    declarations: None,
    consuming: Callable[..., AbstractContextManager[Service]],
    settings: Any,
) -> None:
    consumers = {**settings.DJANGO_EVENTS["KAFKA_CONSUMER"], "statistics.interval.ms": 200}
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA_CONSUMER": consumers}
    group = ConsumerGroup("reaching")

    @group.idempotent(entry_made)
    def note(event: Event[EntryMade]) -> None: ...

    def age() -> float:
        return time.time() - value(metrics.LAST_POLL, group.name)

    with consuming(group):
        wait_for(lambda: age() < 2)
        kafka_server.kill()
        wait_for(lambda: age() > 5)
        kafka_server.restart()
        wait_for(lambda: age() < 2)


def test_a_consumer_may_start_before_kafka(kafka_server: KafkaServer, fragile: Broker, site: Site) -> None:
    kafka_server.kill()
    consumer = site.start("consume", "ledger")
    consumer.says("waiting for Kafka")
    kafka_server.restart()
    consumer.says("ledger.entry-made[0]")


# ── an outage that lasts ─────────────────────────────────────────────────────────────────────────────────────────────

OUTAGE = 60.0  # seconds
COMMITS = 200  # a second
LONGEST_TRANSACTION = 15.0  # seconds: the wait for acknowledgements of rows that were on their way, and a busy machine


def oldest_transaction() -> float:
    """Seconds for which the oldest transaction of another connection has been open."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return float(cursor.fetchone()[0])


def transactions_with_lanes() -> int:
    """Transactions that have locked lanes, which is what a round does before it sends."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(DISTINCT pid) FROM pg_locks WHERE database = (SELECT oid FROM pg_database WHERE datname = "
            "current_database()) AND relation = %s::regclass AND mode = 'RowShareLock'",
            [Lane._meta.db_table],
        )
        return int(cursor.fetchone()[0])


def memory(pid: int) -> int:
    """Kilobytes that the process has in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def test_catchup_learns_that_kafka_is_back_although_others_have_sent_what_waited(
    kafka_server: KafkaServer, transactional_db: None, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(courier, "CONNECT_WAIT", 0.6)
    make_entry("ann")  # this process sends nothing
    catchup = Catchup(["default"])
    kafka_server.pause()
    assert catchup._guarded_pass("default", Stop()).unanswered
    OutgoingEvent.objects.all().delete()
    assert catchup._guarded_pass("default", Stop()).unanswered, "that nothing waits does not say that Kafka is back"
    kafka_server.resume()
    wait_for(lambda: not catchup._guarded_pass("default", Stop()).unanswered)
    assert catchup.activity().troubles == ()
    assert "Sending events to Kafka: works again" in caplog.text
    catchup.close()


def changes_of_state(process: Process) -> list[str]:
    """What the process has said of Kafka and of topics."""
    return [line for line in process.output.splitlines() if "Sending events to Kafka" in line or "held back" in line]


@pytest.mark.long
def test_an_outage_of_a_minute_under_load_costs_neither_memory_nor_transactions_and_is_told_once(
    kafka_server: KafkaServer, fragile: Broker, site: Site
) -> None:
    entries = int(COMMITS * (OUTAGE + 20))
    visits = site.start("make_entries", f"--entries={entries}", "--accounts=50", f"--rate={COMMITS}")
    senders = [visits, site.start("catchup", "--interval=0.5")]
    wait_for(lambda: sum(account.last for account in Account.objects.all()) > COMMITS * 3)
    before = [memory(sender.pid) for sender in senders]
    kafka_server.kill()
    began = time.monotonic()
    ages, most, lanes_locked = [0.0], before, [0]
    while time.monotonic() < began + OUTAGE:
        all_know = all(changes_of_state(sender) for sender in senders)
        ages.append(oldest_transaction())
        most = [max(pair) for pair in zip(most, (memory(sender.pid) for sender in senders), strict=True)]
        lanes_locked += [transactions_with_lanes()] if all_know else []
        time.sleep(0.2)
    waiting = OutgoingEvent.objects.count()
    kafka_server.restart()
    visits.succeeds(180)
    wait_for(lambda: not OutgoingEvent.objects.exists(), 120)
    wait_for(lambda: len(changes_of_state(senders[1])) > 1)  # also if the visits' process has sent everything
    assert numbers(fragile) == in_order()
    assert waiting > COMMITS * OUTAGE / 2, "the site did not go on"
    assert max(ages) < LONGEST_TRANSACTION
    assert len(lanes_locked) > 1
    assert max(lanes_locked) == 0, "a lane was locked while Kafka was known to be away"
    assert [high - low < 50_000 for high, low in zip(most, before, strict=True)] == [True, True], (before, most)
    for sender in senders:
        first, last = changes_of_state(sender)
        assert "does not answer" in first
        assert "works again" in last


def test_a_group_begins_where_it_is_to_begin_although_kafka_is_away_when_it_asks(
    fragile: Broker,
    kafka_server: KafkaServer,
    consuming: Callable[[ConsumerGroup], AbstractContextManager[Service]],
    declarations: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    group = ConsumerGroup("late", start="latest")
    read: list[bytes | None] = []

    @group.idempotent(entry_made)
    def note(event: Event[EntryMade]) -> None:
        read.append(event.data)

    ask = starting._first_offsets
    asked: list[Any] = []

    def ask_while_it_is_away(*arguments: Any) -> list[TopicPartition]:
        if not asked:
            kafka_server.pause()
        asked.append(arguments)
        try:
            return ask(*arguments)
        finally:
            kafka_server.resume()

    monkeypatch.setattr(starting, "_first_offsets", ask_while_it_is_away)
    monkeypatch.setattr(starting, "ANSWER", 0.5)
    fragile.put("ledger.entry-made", b'{"account":"old","number":1}', partition=0)
    with consuming(group):
        fragile.put("ledger.entry-made", b'{"account":"new","number":1}', partition=0)
        wait_for(lambda: read)
    assert len(asked) > 1
    assert read == [b'{"account":"new","number":1}']
