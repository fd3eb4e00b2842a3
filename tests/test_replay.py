"""``manage.py events replay``: one handler over the past of a topic."""

import io
import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError

from django_events import Backoff, ConsumerGroup, DoNotRetry, Event, IgnoreError, Topic
from django_events.consuming import replay
from django_events.consuming.attempt import attempt
from django_events.consuming.outcome import Postponed
from django_events.consuming.service import Service
from django_events.models import ProcessedEvent
from tests.broker import Broker
from tests.ledger.events import EntryMade
from tests.ledger.models import Entry
from tests.processes import Site
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.usefixtures("declarations", "transactional_db")]

Payload = dict[str, Any]
Consuming = Callable[..., AbstractContextManager[Service]]
Act = Callable[[Event[Payload]], None]

AT_ONCE = Backoff(first=0, max=0.001, jitter=0)
LETTERS = "orders.shop.dead-letter"


class Shop:
    """A group with an exactly-once and an idempotent handler, which leave an entry for each event.

    ``act`` is what they do first.
    """

    def __init__(self, topic: Topic[Payload]) -> None:
        self.act: Act = lambda _: None
        self.group = ConsumerGroup("shop")
        self.group.exactly_once(topic, name="book", retry=AT_ONCE)(self._handle)
        self.group.idempotent(topic, name="note", retry=AT_ONCE)(self._handle)

    def _handle(self, event: Event[Payload]) -> None:
        self.act(event)
        number = event.payload["number"]
        Entry.objects.create(
            handler=event.handler or "",
            topic=event.topic,
            event_id=event.id,
            account="",
            number=number,
            process=os.getpid(),
        )


@pytest.fixture
def shop(broker: Broker) -> Shop:
    """Orders 0 to 5: even ones of key ``a`` in partition 0, odd ones of ``b`` in partition 1."""
    broker.create("orders")
    for number in range(6):
        put(broker, number)
    return Shop(Topic("orders", Payload))


def put(broker: Broker, number: int) -> None:
    broker.put("orders", b'{"number":%d}' % number, key=b"ab"[number % 2 :][:1], partition=number % 2)


def run(*arguments: str, handler: str = "book") -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    wanted = ["--group", "shop", "--topic", "orders", "--handler", handler, "--timeout=60"]
    try:
        call_command("events", "replay", *wanted, *arguments, stdout=out, stderr=err)
    except CommandError as error:
        error.add_note(out.getvalue())
        raise
    return out.getvalue(), err.getvalue()


def effects(handler: str = "book") -> dict[int, int]:
    """How often each number was handled."""
    return Counter(Entry.objects.filter(handler=handler).values_list("number", flat=True))


def order(handler: str = "book") -> list[int]:
    """The numbers of one partition in the order in which they were handled."""
    numbers = Entry.objects.filter(handler=handler).order_by("pk").values_list("number", flat=True)
    return [number for number in numbers if number % 2 == 0]


def all_once(count: int = 6) -> dict[int, int]:
    return dict.fromkeys(range(count), 1)


def fails_with(number: int, error: BaseException) -> Act:
    def act(event: Event[Payload]) -> None:
        if event.payload["number"] == number:
            raise error

    return act


def test_a_handler_runs_over_all_that_is_there_in_the_order_of_its_keys(broker: Broker, shop: Shop) -> None:
    out, err = run()
    assert effects() == all_once()
    assert order() == [0, 2, 4]
    assert out == "6 handled, 0 skipped, 0 failed\n"
    assert "shop/book: orders[0] from 0 to 3, orders[1] from 0 to 3" in err
    assert broker.committed("shop", "orders", 0) is None, "the group knows nothing of it"


def test_what_is_processed_is_skipped_and_nobody_in_the_group_notices(
    broker: Broker, shop: Shop, consuming: Consuming
) -> None:
    with consuming(shop.group) as service:
        wait_for(lambda: all(broker.committed("shop", "orders", number) == 3 for number in (0, 1)))
        before = broker.committed("shop", "orders", 0)
        assert run()[0] == "0 handled, 6 skipped, 0 failed\n"
        assert (broker.committed("shop", "orders", 0), service.wait(0.0)) == (before, False)
        put(broker, 6)
        wait_for(lambda: broker.committed("shop", "orders", 0) == 4)
    assert effects() == all_once(7)


def test_an_event_that_lost_its_mark_is_handled(shop: Shop) -> None:
    run()
    ProcessedEvent.objects.filter(handler="book").earliest("processed_at").delete()
    assert run()[0] == "1 handled, 5 skipped, 0 failed\n"
    assert sum(effects().values()) == 7


def test_marks_that_are_not_looked_up_beforehand_count_all_the_same(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    monkeypatch.setattr(replay.Replay, "_processed", lambda *_: ())
    assert run()[0] == "0 handled, 6 skipped, 0 failed\n"
    assert effects() == all_once()


def test_again_says_so_repeats_the_effects_and_leaves_the_marks(shop: Shop) -> None:
    run()
    before = set(ProcessedEvent.objects.values_list("pk", "processed_at"))
    out, err = run("--again")
    assert "those effects happen once more" in err
    assert out == "6 handled, 0 skipped, 0 failed\n"
    assert effects() == dict.fromkeys(range(6), 2)
    after = set(ProcessedEvent.objects.values_list("pk", "processed_at"))
    assert {key for key, _ in after} == {key for key, _ in before}
    assert not after & before, "the marks are new"
    assert run()[0] == "0 handled, 6 skipped, 0 failed\n"


def test_again_that_fails_leaves_the_old_mark_and_no_effect(shop: Shop) -> None:
    run()
    before = set(ProcessedEvent.objects.values_list("pk", "processed_at"))

    def fail_late(event: Event[Payload]) -> None:
        Entry.objects.create(handler="late", topic="", event_id="", account="", number=0, process=0)
        raise DoNotRetry("no")

    shop.act = fail_late
    with pytest.raises(CommandError, match="2 events failed; behind them 4 events held back"):
        run("--again")
    assert set(ProcessedEvent.objects.values_list("pk", "processed_at")) == before
    assert effects("late") == {}
    assert effects() == all_once()


def test_an_idempotent_handler_is_called_with_everything_and_that_is_said(shop: Shop) -> None:
    for count in (1, 2):
        out, err = run(handler="note")
        assert "It is idempotent: nothing says what it has handled" in err
        assert out == "6 handled, 0 skipped, 0 failed\n"
        assert effects("note") == dict.fromkeys(range(6), count)
    assert "with or without --again" in run("--again", handler="note")[1]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--from", "1"], {2, 3, 4, 5}),
        (["--to", "1"], {0, 1}),
        (["--from", "1", "--to", "2"], {2, 3}),
        (["--from", "1", "--to", "2", "--partition", "1"], {3}),
        (["--from", "latest"], set()),
        (["--from", "2", "--to", "1"], set()),
        (["--to", "2000-01-01"], set()),
        (["--from", "2000-01-01", "--to", "2100-01-01"], {0, 1, 2, 3, 4, 5}),
        (["--from", "2100-01-01"], set()),
    ],
)
def test_from_and_to(shop: Shop, arguments: list[str], wanted: set[int]) -> None:
    run(*arguments)
    assert effects() == dict.fromkeys(wanted, 1)


def test_a_time_is_that_of_the_first_event_that_is_not_older(broker: Broker, shop: Shop) -> None:
    last = max(seen.at for seen in broker.read("orders"))
    wait_for(lambda: datetime.now(UTC).timestamp() > last + 0.002)
    between = datetime.now(UTC)
    wait_for(lambda: datetime.now(UTC).timestamp() > between.timestamp() + 0.002)
    put(broker, 6)
    run("--to", between.isoformat())
    assert effects() == all_once()
    run("--from", between.isoformat())
    assert effects() == all_once(7)


def test_the_end_is_that_of_the_start(broker: Broker, shop: Shop) -> None:
    numbers = iter(range(6, 100))
    shop.act = lambda _: put(broker, next(numbers))
    run()
    assert effects() == all_once()


def test_markers_of_transactions_at_the_end_are_no_events(broker: Broker, shop: Shop) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "transactional.id": broker.prefix})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(broker.prefix + "orders", b'{"number":6}', b"a", partition=0)
    producer.commit_transaction(30)
    wait_for(lambda: broker.end("orders", 0) == 5)
    assert run()[0] == "7 handled, 0 skipped, 0 failed\n"
    put(broker, 8)
    assert run("--to", "5", "--again", "--partition", "0")[0] == "4 handled, 0 skipped, 0 failed\n"


def test_a_failure_is_told_its_key_waits_and_others_go_on(shop: Shop) -> None:
    shop.act = fails_with(2, ValueError("bad\x1b[2J\nsecond line"))
    with pytest.raises(
        CommandError, match=r"^1 event failed; behind them 1 event held back.* replay the same"
    ) as raised:
        run()
    assert effects() == dict.fromkeys((0, 1, 3, 5), 1)
    (text,) = raised.value.__notes__
    assert text.splitlines() == [
        "failed  orders[0]@1  ValueError: bad\\x1b[2J",
        "4 handled, 0 skipped, 1 failed, 1 held back",
    ]
    shop.act = lambda _: None
    assert run()[0] == "2 handled, 4 skipped, 0 failed\n"
    assert order() == [0, 2, 4]


def test_a_handler_is_tried_three_times_unless_that_is_hopeless(shop: Shop) -> None:
    tries: Counter[int] = Counter()

    def act(event: Event[Payload]) -> None:
        number = event.payload["number"]
        tries[number] += 1
        assert event.attempt == tries[number]
        if number == 4 or (number == 0 and tries[number] < 3):
            raise ValueError
        if number == 5:
            raise DoNotRetry
        if number == 1:
            raise IgnoreError

    shop.act = act
    with pytest.raises(CommandError, match="2 events failed") as raised:
        run()
    assert tries == {0: 3, 1: 1, 2: 1, 3: 1, 4: 3, 5: 1}
    assert "3 handled, 0 skipped, 1 passed over, 2 failed\n" in raised.value.__notes__[0]


def test_a_record_that_is_no_event_of_the_topic_fails_alone(broker: Broker, shop: Shop) -> None:
    broker.put("orders", b"{", partition=0)
    put(broker, 6)
    with pytest.raises(CommandError, match="1 event failed") as raised:
        run()
    assert "failed  orders[0]@3  " in raised.value.__notes__[0]
    assert effects() == all_once(7)


def test_a_try_that_could_not_take_place_is_no_failure(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = iter([True] * 2)

    def sometimes(*arguments: Any, **options: Any) -> Any:
        if next(refused, False):
            return [Postponed(OperationalError("away"))]
        return attempt(*arguments, **options)

    monkeypatch.setattr(replay, "attempt", sometimes)
    assert run()[0] == "6 handled, 0 skipped, 0 failed\n"


def test_a_dry_run_counts_and_calls_nobody(broker: Broker, shop: Shop) -> None:
    run("--to", "1")
    broker.put("orders", b"{", partition=0)
    with pytest.raises(CommandError, match=r"^1 event failed\.\n") as raised:
        run("--dry-run")
    assert "4 would be handled, 2 skipped, 1 cannot be read" in raised.value.__notes__[0]
    assert effects() == {0: 1, 1: 1}
    assert ProcessedEvent.objects.count() == 2


def test_a_program_gets_json(shop: Shop) -> None:
    shop.act = fails_with(2, ValueError("bad"))
    with pytest.raises(CommandError) as raised:
        run("--json")
    failure, whole = map(json.loads, raised.value.__notes__[0].splitlines())
    place = {"topic": "orders", "partition": 0, "offset": 1}
    assert failure == {"failed": place, "exception": "ValueError", "message": "bad"}
    assert whole == {
        "group": "shop", "handler": "book", "topic": "orders", "again": False, "dry_run": False,
        "handled": 4, "skipped": 0, "passed_over": 0, "failed": 1, "held_back": 1, "left": [],
    }  # fmt: skip


def test_a_handler_of_dead_letters_runs_over_those_of_the_other_group(broker: Broker, shop: Shop) -> None:
    """Also where the events have no id: then it is made from the place that they had before."""
    broker.create(LETTERS, partitions=1)
    for number in (1, 4):
        place = [("dead-letter-partition", b"%d" % (number % 2)), ("dead-letter-offset", b"%d" % (number // 2))]
        broker.put(LETTERS, b'{"number":%d}' % number, headers=place, partition=0)
    (topic,) = shop.group.handlers[0].topics
    doctors = ConsumerGroup("doctors")
    doctors.exactly_once(topic, name="look", retry=AT_ONCE, dead_letters_of="shop")(shop._handle)
    wanted = ["--group", "doctors", "--topic", LETTERS]
    with pytest.raises(CommandError, match=f"doctors/look does not read 'orders'. It reads: {LETTERS}"):
        run("--group", "doctors", handler="look")
    assert run(*wanted, handler="look")[0] == "2 handled, 0 skipped, 0 failed\n"
    assert effects("look") == {1: 1, 4: 1}
    assert run(*wanted, "--dry-run", handler="look")[0] == "0 would be handled, 2 skipped, 0 cannot be read\n"
    assert run(*wanted, handler="look")[0] == "0 handled, 2 skipped, 0 failed\n"
    assert effects("look") == {1: 1, 4: 1}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_handler_finish_and_says_where_it_was(
    site: Site, broker: Broker, tmp_path: Path, number: int
) -> None:
    broker.create("ledger.entry-made", partitions=1)
    hold = tmp_path / "hold"
    for held in ("", str(hold), ""):
        broker.put("ledger.entry-made", msgspec.json.encode(EntryMade("ann", 1, held)), key=b"ann")
    wanted = ("--group", "audit", "--handler", "note", "--topic", "ledger.entry-made", "--timeout=60")
    replaying = site.start("events", "replay", *wanted)
    wait_for(hold.with_suffix(".started").exists)
    replaying.signal(number)
    hold.touch()
    assert replaying.ends() == 1, replaying.output
    assert "2 handled, 0 skipped, 0 failed" in replaying.output
    assert "Stopped. Not done: ledger.entry-made[0] from 2 to 3. Go on with --partition N --from" in replaying.output
    assert Entry.objects.filter(handler="audit/note").count() == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--group", "nobody"], "No consumer group is named nobody"),
        (["--handler", "nobody"], "'shop' has no handler 'nobody'. It has: book, note"),
        (["--topic", "nothing"], "shop/book does not read 'nothing'. It reads: orders"),
        (["--from", "soon"], "'soon' is not a place in a topic"),
        (["--partition", "-1"], "'-1' is not the number of a partition"),
        (["--partition", "5"], "has no partition 5"),
    ],
)
def test_what_cannot_be_is_said(shop: Shop, arguments: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        run(*arguments)


def test_a_kafka_that_does_not_answer_is_an_error_in_time(shop: Shop, settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA": {"bootstrap.servers": "127.0.0.1:1"}}
    with pytest.raises(CommandError, match="Kafka at 127.0.0.1:1 does not answer"):
        run("--timeout", "1")
