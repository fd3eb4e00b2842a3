"""``manage.py events groups``: who is in the groups, how far they are, and where they read on."""

import io
import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException, Producer
from django.core.management import call_command
from django.core.management.base import CommandError

from django_events import ConsumerGroup, Event, Topic
from django_events.consuming.service import Service
from django_events.exceptions import KafkaRefused
from django_events.kafka import consumer_groups
from django_events.kafka.errors import LastError
from django_events.kafka.record import Partition
from tests.broker import PATIENCE, Broker
from tests.processes import Site
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("declarations")]

LETTERS = "orders.sales.dead-letter"

Payload = dict[str, Any]
Consuming = Callable[..., AbstractContextManager[Service]]


class Terminal(io.StringIO):
    """A terminal on which somebody has typed something."""

    def isatty(self) -> bool:
        return True


def run(*arguments: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("events", "groups", "--timeout=60", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def facts(*arguments: str) -> dict[str, dict[str, Any]]:
    return {each["group"]: each for each in map(json.loads, run("--json", *arguments)[0].splitlines())}


def offsets(group: str) -> dict[int, int | None]:
    return {each["partition"]: each["committed"] for each in facts(group)[group]["partitions"]}


@pytest.fixture
def orders(broker: Broker) -> Topic[Payload]:
    """A topic with ten records in one partition, and none in the other."""
    broker.create("orders")
    broker.put_many("orders", [b'{"number":%d}' % each for each in range(10)], b"a", 0)
    return Topic("orders", Payload)


@pytest.fixture
def sales(orders: Topic[Payload]) -> ConsumerGroup:
    group = ConsumerGroup("sales")

    @group.idempotent(orders)
    def bill(event: Event[Payload]) -> None: ...

    return group


@pytest.fixture
def doctors(broker: Broker, orders: Topic[Payload]) -> ConsumerGroup:
    """A group that handles the dead letters of another; there are three, in one partition."""
    broker.create(LETTERS)
    broker.put_many(LETTERS, [b'{"number":%d}' % each for each in range(3)], b"a", 0)
    group = ConsumerGroup("doctors")

    @group.idempotent(orders, dead_letters_of="sales")
    def look(event: Event[Payload]) -> None: ...

    return group


def test_a_group_that_never_ran_lags_by_all_that_is_there(broker: Broker, sales: ConsumerGroup) -> None:
    found = facts("sales")["sales"]
    assert (found["state"], found["members"], found["lag"]) == ("absent", [], 10)
    assert found["name_in_kafka"] == broker.prefix + "sales"
    full, empty = found["partitions"]
    assert (full["topic"], full["partition"], full["committed"], full["end"], full["lag"]) == (
        "orders",
        0,
        None,
        10,
        10,
    )
    assert (empty["end"], empty["lag"], empty["oldest"], empty["oldest_seconds"]) == (0, 0, None, None)
    assert "sales" in facts(), "declared groups are shown without being named"


def test_the_age_is_that_of_the_oldest_record_that_is_not_handled(broker: Broker, sales: ConsumerGroup) -> None:
    run("--reset", "sales", "--to", "4", "--yes")
    first = broker.read("orders")[4].at
    least = time.time() - first
    found = facts("sales")["sales"]["partitions"][0]
    assert datetime.fromisoformat(found["oldest"]).timestamp() == pytest.approx(first)
    assert least - 1 <= found["oldest_seconds"] <= time.time() - first + 1
    assert (found["committed"], found["lag"]) == (4, 6)


@pytest.mark.postgres
def test_a_group_that_runs_shows_its_members_and_cannot_be_reset(
    broker: Broker, sales: ConsumerGroup, consuming: Consuming
) -> None:
    with consuming(sales):
        wait_for(lambda: broker.committed("sales", "orders", 0) == 10)
        found = facts("sales")["sales"]
        assert (found["state"], found["lag"]) == ("stable", 0)
        (member,) = found["members"]
        assert member["client_id"] == "rdkafka"
        assert member["host"]
        assert [each["partition"] for each in member["partitions"]] == [0, 1]
        assert "rdkafka on" in run("sales")[0]
        with pytest.raises(CommandError, match="has members .1, on .*Nothing is changed. Stop every consume"):
            run("--reset", "sales", "--to", "earliest", "--yes")
        assert broker.committed("sales", "orders", 0) == 10
    wait_for(lambda: facts("sales")["sales"]["state"] == "empty")
    run("--reset", "sales", "--to", "earliest", "--yes")
    assert broker.committed("sales", "orders", 0) == 0


def test_somebody_who_joins_between_plan_and_reset_keeps_the_offsets(
    broker: Broker, sales: ConsumerGroup, consuming: Consuming, monkeypatch: pytest.MonkeyPatch, transactional_db: None
) -> None:
    with consuming(sales):
        wait_for(lambda: broker.committed("sales", "orders", 0) == 10)
        monkeypatch.setattr("django_events.kafka.group_offsets.members", lambda *_: ())
        with pytest.raises(CommandError, match="has members.*Stop every consume"):
            run("--reset", "sales", "--to", "earliest", "--yes")
        assert broker.committed("sales", "orders", 0) == 10


def test_an_end_after_markers_of_transactions_is_no_lag(broker: Broker, sales: ConsumerGroup) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "transactional.id": broker.prefix})
    producer.init_transactions(PATIENCE)
    producer.begin_transaction()
    producer.produce(broker.prefix + "orders", b"{}", partition=1)
    producer.commit_transaction(PATIENCE)
    wait_for(lambda: broker.end("orders", 1) == 2)
    run("--reset", "sales", "--to", "latest", "--yes")
    assert offsets("sales") == {0: 10, 1: 2}
    run("--reset", "sales", "--to", "1", "--partition", "1", "--yes")
    assert facts("sales")["sales"]["partitions"][1]["lag"] == 0


def test_a_reset_to_each_kind_of_place(broker: Broker, sales: ConsumerGroup) -> None:
    wait_for(lambda: time.time() > broker.read("orders")[-1].at + 0.01)
    between = datetime.now(UTC).isoformat()
    wait_for(lambda: datetime.now(UTC) > datetime.fromisoformat(between))
    broker.put("orders", b"{}", partition=0)
    for place, wanted in (("latest", 11), ("earliest", 0), ("7", 7), ("999", 11), (between, 10), ("2100-01-01", 11)):
        run("--reset", "sales", "--to", place, "--yes")
        assert offsets("sales") == {0: wanted, 1: 0}, place


def test_a_dry_run_shows_what_a_reset_means_and_changes_nothing(broker: Broker, sales: ConsumerGroup) -> None:
    run("--reset", "sales", "--to", "8", "--partition", "0", "--yes")
    text, _ = run("--reset", "sales", "--to", "earliest", "--dry-run")
    lines = [line.split() for line in text.splitlines()]
    assert lines[1] == ["orders", "0", "8", "0", "8", "again"]
    assert lines[2] == ["orders", "1", "0", "begins", "here"]
    assert "dry run" in text
    assert offsets("sales") == {0: 8, 1: None}
    assert "2 passed over" in run("--reset", "sales", "--to", "latest", "--dry-run")[0]
    found = json.loads(run("--reset", "sales", "--to", "earliest", "--dry-run", "--json")[0])
    assert found["partitions"][0] == {"topic": "orders", "partition": 0, "before": 8, "after": 0}


def test_a_group_that_handles_dead_letters_is_shown_and_reset_where_they_are(
    broker: Broker, doctors: ConsumerGroup
) -> None:
    found = facts("doctors")["doctors"]
    assert [(each["topic"], each["lag"]) for each in found["partitions"]] == [(LETTERS, 3), (LETTERS, 0)]
    run("--reset", "doctors", "--to", "latest", "--yes")
    assert broker.committed("doctors", LETTERS, 0) == 3
    assert facts("doctors")["doctors"]["lag"] == 0


def test_a_group_that_handles_events_too_is_reset_where_it_is_said(
    broker: Broker, orders: Topic[Payload], doctors: ConsumerGroup
) -> None:
    @doctors.idempotent(orders)
    def note(event: Event[Payload]) -> None: ...

    run("--reset", "doctors", "--topic", LETTERS, "--to", "2", "--yes")
    assert broker.committed("doctors", LETTERS, 0) == 2
    assert broker.committed("doctors", "orders", 0) is None


@pytest.mark.parametrize(("typed", "wanted"), [("y\n", 0), ("n\n", None), ("", None)])
def test_a_terminal_is_asked(
    sales: ConsumerGroup, monkeypatch: pytest.MonkeyPatch, typed: str, wanted: int | None
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    if wanted is None:
        with pytest.raises(CommandError, match="Nothing is changed"):
            run("--reset", "sales", "--to", "earliest")
    else:
        assert "[y/N]" in run("--reset", "sales", "--to", "earliest")[1]
    assert offsets("sales")[0] == wanted


def test_nobody_to_ask_is_no_yes(sales: ConsumerGroup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(CommandError, match="no terminal to ask on. Say --yes"):
        run("--reset", "sales", "--to", "earliest")
    assert offsets("sales")[0] is None


def test_a_group_that_is_not_declared_shows_what_it_has_committed(broker: Broker, orders: Topic[Payload]) -> None:
    run("--reset", "others", "--topic", "orders", "--partition", "0", "--to", "3", "--yes")
    found = facts("others")["others"]
    assert found["state"] == "empty"
    assert [(each["topic"], each["partition"], each["committed"], each["lag"]) for each in found["partitions"]] == [
        ("orders", 0, 3, 7), ("orders", 1, None, 0)]  # fmt: skip
    assert broker.committed("others", "orders", 0) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "earliest"], "--to belongs to --reset GROUP"),
        (["--dry-run"], "--dry-run belongs to --reset"),
        (["--reset", "sales"], "--reset needs --to"),
        (["sales", "--reset", "sales", "--to", "earliest"], "changes one group"),
        (["--reset", "nobody", "--to", "earliest"], "No handlers of a group 'nobody'.*--topic"),
        (["--reset", "sales", "--topic", "xyz", "--to", "earliest"], "'sales' does not read xyz. It reads orders"),
        (["--reset", "sales", "--to", "soon"], "'soon' is not a place in a topic: earliest"),
        (["--reset", "sales", "--to", "0", "--partition", "7"], "has no partition 7; it has 2"),
        (["--reset", "nobody", "--topic", "xyz", "--to", "earliest"], "Kafka has no topic '.*xyz'.*events topics"),
    ],
)
def test_what_cannot_be_is_said(sales: ConsumerGroup, arguments: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        run(*arguments)


def test_a_topic_that_kafka_does_not_have_is_named(broker: Broker) -> None:
    group = ConsumerGroup("early")

    @group.idempotent(Topic("unborn", Payload))
    def bill(event: Event[Payload]) -> None: ...

    assert facts("early")["early"]["missing_topics"] == ["unborn"]
    assert "topic unborn is missing" in run("early")[0]


def test_groups_are_asked_for_their_offsets_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, dozens of them would take seconds."""
    everybody = threading.Barrier(5)

    def ask(group: str, partitions: object, timeout: float) -> dict[Partition, int]:
        everybody.wait(60)
        return {}

    monkeypatch.setattr(consumer_groups, "committed_offsets", ask)
    nothing: dict[str, list[Partition]] = {f"group-{number}": [] for number in range(5)}
    assert consumer_groups._committed_offsets(nothing, timeout=60) == {group: {} for group in nothing}


def test_a_kafka_that_does_not_answer_is_an_error_in_time(sales: ConsumerGroup, settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA": {"bootstrap.servers": "127.0.0.1:1"}}
    for arguments in ([], ["--reset", "sales", "--to", "earliest", "--yes"]):
        began = time.monotonic()
        with pytest.raises(CommandError, match="Kafka at 127.0.0.1:1 does not answer"):
            run(*arguments, "--timeout", "1")
        assert time.monotonic() - began < 45  # far less than the 60 s that it has otherwise


@pytest.mark.postgres
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_watch_goes_on_until_a_signal(site: Site, broker: Broker, tmp_path: Path, number: int) -> None:
    broker.create("ledger.entry-made")
    watch = site.start("events", "groups", "audit", "--watch", "0.2", "--json")
    wait_for(lambda: len(watch.output.splitlines()) >= 2)
    broker.put("ledger.entry-made", b"{}")
    watch.says('"lag": 1,')
    watch.signal(number)
    assert watch.ends() == 0, watch.output
    told = [line for line in watch.output.splitlines() if line.startswith("{")]  # others tell of a Kafka that is busy
    assert {json.loads(line)["group"] for line in told} == {"audit"}


def test_no_client_for_administration_is_asked_for_offsets(
    broker: Broker, sales: ConsumerGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would crash the process while a coordinator moves."""

    def crash(*_: object, **__: object) -> None:
        raise AssertionError("as if it crashed")

    monkeypatch.setattr("confluent_kafka.admin.AdminClient.list_consumer_group_offsets", crash)
    run("--reset", "sales", "--to", "4", "--yes")
    assert offsets("sales") == {0: 4, 1: 0}


class TakingOver:
    """Kafka's answers about a group: its coordinator is loading what it knows of it, then it is there."""

    def __init__(self) -> None:
        self._errors: list[int] = [KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.NOT_COORDINATOR]

    def describe_consumer_groups(self, groups: list[str], **_: object) -> dict[str, Future[Any]]:
        answer: Future[Any] = Future()
        if self._errors:
            answer.set_exception(KafkaException(KafkaError(self._errors.pop())))
        else:
            answer.set_result(SimpleNamespace(state=ConsumerGroupState.EMPTY, members=[]))
        return dict.fromkeys(groups, answer)


def test_a_group_whose_coordinator_is_taking_over_is_asked_about_again() -> None:
    assert consumer_groups.members("sales", cast(Any, TakingOver()), LastError(), 30) == ()
    with pytest.raises(KafkaRefused, match="does not tell of the group"):
        consumer_groups.members("sales", cast(Any, TakingOver()), LastError(), 0)
