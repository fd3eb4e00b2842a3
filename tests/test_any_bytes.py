"""Any bytes as key, body and headers: an event or a dead letter with its reason; no crash, no loop, no lost neighbour.

EXAMPLES in the environment says how many are tried; the default is for every day.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from io import StringIO
from typing import Any

import pytest
from confluent_kafka import Producer
from django.core.management import call_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_events import Batch, ConsumerGroup, Event, OnFailure, cloudevents
from django_events.consuming import dead_letter
from django_events.consuming.letter_headers import is_ours
from django_events.consuming.marks import mark_of
from django_events.consuming.outcome import Failed, Handled, NotBegun, Outcome
from django_events.consuming.service import Service
from django_events.consuming.sharing import Sharing
from django_events.consuming.trying import Trial
from django_events.handlers import Handler
from django_events.kafka import topics
from django_events.kafka.record import Headers, Partition, ReceivedRecord
from django_events.models import DeadLetter
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_made
from tests.letters import the_letter
from tests.odd_headers import put_with_header
from tests.strangers import GOOD, drawn, records
from tests.waiting import wait_for

TOPIC, LETTERS = "ledger.entry-made", "ledger.entry-made.strange.dead-letter"
Consuming = Callable[..., AbstractContextManager[Service]]

many = settings(
    max_examples=int(os.environ.get("EXAMPLES", "600")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Strange:
    """A group, and the events that its handlers got."""

    def __init__(self) -> None:
        self.group = ConsumerGroup("strange")
        self.got: list[Event[EntryMade]] = []

        @self.group.idempotent(entry_made)
        def alone(event: Event[EntryMade]) -> None:
            self.got.append(event)

        @self.group.idempotent(entry_made, batch=Batch(size=10))
        def together(events: list[Event[EntryMade]]) -> None:
            self.got += events

    def handler(self, name: str) -> Handler:
        return next(each for each in self.group.handlers if each.name == name)


@pytest.fixture
def strange(declarations: None) -> Strange:
    return Strange()


def neighbour(offset: int) -> ReceivedRecord:
    return ReceivedRecord(Partition(TOPIC, 0), offset, b"neighbour-%d" % offset, GOOD, [], None)


@pytest.mark.parametrize("name", ["alone", "together"])
def test_each_record_is_an_event_or_fails_with_its_reason_and_its_neighbours_are_handled(
    strange: Strange, name: str
) -> None:
    handler = strange.handler(name)

    @many
    @given(st.lists(records(TOPIC), min_size=1, max_size=3, unique_by=lambda record: record.offset))
    def check(strangers: list[ReceivedRecord]) -> None:
        strange.got.clear()
        wanted = [neighbour(1), *[_with_key_of_its_own(*each) for each in enumerate(strangers)], neighbour(2)]
        outcomes = tried(handler, wanted)
        assert isinstance(outcomes[0], Handled) and isinstance(outcomes[-1], Handled)
        assert len(strange.got) == sum(isinstance(outcome, Handled) for outcome in outcomes)
        for record, outcome in zip(wanted, outcomes, strict=True):
            if isinstance(outcome, Failed):
                assert outcome.report.exception and outcome.report.message
                _check_letter(strange.group, handler, record, outcome)
            else:
                assert isinstance(outcome, Handled)
        for event in strange.got:
            _check_storable(mark_of(event).event_id, mark_of(event).source)
        assert [cloudevents.to_bytes(event.key) for event in strange.got] == [
            record.key for record, outcome in zip(wanted, outcomes, strict=True) if isinstance(outcome, Handled)
        ]

    check()


def tried(handler: Handler, wanted: Sequence[ReceivedRecord]) -> list[Outcome]:
    """The outcomes, in as many units as it takes: one unit has its time, and each begins something."""
    outcomes = Trial(handler, wanted, 1, Sharing(), lambda _: True).outcomes()
    done = [outcome for outcome in outcomes if not isinstance(outcome, NotBegun)]
    assert done and outcomes[: len(done)] == done
    return done + (tried(handler, wanted[len(done) :]) if len(done) < len(wanted) else [])


def _with_key_of_its_own(number: int, record: ReceivedRecord) -> ReceivedRecord:
    """After a failure the later events of its key are not begun."""
    return record if record.key is None else record._replace(key=b"%d" % number + record.key)


def _check_letter(group: ConsumerGroup, handler: Handler, record: ReceivedRecord, outcome: Failed) -> None:
    """The letter has what the record had, and comes back as what it was written for."""
    written = dead_letter.encode(handler, record, outcome.report, 3, outcome.report.at)
    back = record._replace(partition=Partition(LETTERS, 0), offset=5, headers=written.headers, unreadable=None)
    (letter,) = dead_letter.decode(back, group, TOPIC)
    assert (letter.key, letter.value, letter.handler) == (record.key, record.value, handler.name)
    assert (letter.partition, letter.offset) == (record.partition.number, record.offset)
    assert letter.headers == [(name, value) for name, value in record.headers if not is_ours(name)]
    assert letter.exception == outcome.report.exception


def test_letters_of_strangers_are_letters_that_the_table_can_keep(strange: Strange) -> None:
    @many
    @given(records(LETTERS, of_letters=True))
    def check(record: ReceivedRecord) -> None:
        letters = list(dead_letter.decode(record, strange.group, TOPIC))
        assert letters
        for letter in letters:
            _check_storable(
                *(letter.event_id, letter.key_text or "", letter.handler, letter.exception),
                *(letter.message, letter.traceback),
            )
            assert -(2**31) <= letter.partition < 2**31 and 0 <= letter.offset < 2**63
            assert 0 <= letter.attempts < 2**31
            assert len(letter.handler) <= 200 and len(letter.exception) <= 200
            assert letter.first_failed <= letter.last_failed

    check()


def _check_storable(*texts: str) -> None:
    """Every database takes them: no NUL, no half characters."""
    for text in texts:
        assert "\0" not in text
        text.encode()


# ── on a real Kafka ──────────────────────────────────────────────────────────────────────────────────────────────


def put_all(broker: Broker, topic: str, strangers: list[ReceivedRecord]) -> None:
    """Write them as they are, in turn to both partitions, each before a good one."""
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    for number, record in enumerate(strangers):
        headers = [_told_apart(number, *header) for header in record.headers]
        producer.produce(broker.prefix + topic, record.value, record.key, partition=number % 2, headers=headers)
        good: Headers = [("ce_id", b"good-%d" % number), ("dead-letter-id", b"good-%d" % number)]
        key = b"good-%d" % number
        producer.produce(broker.prefix + topic, GOOD, key, partition=number % 2, headers=good)
    assert producer.flush(60) == 0


def _told_apart(number: int, name: str, value: bytes | None) -> tuple[str, bytes | None]:
    """Ids that are the same are rightly those of one event, or of one letter."""
    is_id = name.lower() in ("ce_id", "dead-letter-id")
    return name.replace("\0", "0"), b"%d-%b" % (number, value) if is_id and value else value


def passed(broker: Broker, group: str, topic: str) -> bool:
    return all((broker.committed(group, topic, number) or 0) == broker.end(topic, number) for number in (0, 1))


MANY = 100


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_header_whose_name_is_no_text_makes_a_letter_of_its_record_alone(
    broker: Broker, consuming: Consuming, declarations: None
) -> None:
    group = ConsumerGroup("strange")
    got: list[int | None] = []

    @group.exactly_once(entry_made, on_failure=OnFailure.SAVE)
    def note(event: Event[EntryMade]) -> None:
        got.append(event.offset)

    topics.create_missing([TOPIC], timeout=60)
    broker.put_many(TOPIC, [GOOD] * MANY, b"k", 0)  # Python makes a call that is made often in another way
    put_with_header(broker.bootstrap_servers, broker.prefix + TOPIC, 0, GOOD, b"\xff\xfe")
    broker.put(TOPIC, GOOD, partition=0)
    with consuming(group):
        letter = the_letter()
        wait_for(lambda: broker.committed("strange", TOPIC, 0) == MANY + 2)
    assert set(got) == {*range(MANY), MANY + 1}
    assert len(got) == MANY + 1
    assert (letter.offset, letter.value and bytes(letter.value)) == (MANY, GOOD)
    assert "a header's name is not UTF-8" in letter.message


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_batch_that_cannot_be_unpacked_holds_its_partition_alone_and_is_named_with_what_to_do(
    broker: Broker, consuming: Consuming, strange: Strange, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The smallest bound that librdkafka takes; the batch has hundreds of bytes until it is unpacked."""
    bounds = {"fetch.max.bytes": 1_000_000, "receive.message.max.bytes": 1_000_512}
    consumer = {**settings.DJANGO_EVENTS["KAFKA_CONSUMER"], **bounds}
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA_CONSUMER": consumer}
    topics.create_missing([TOPIC], timeout=60)
    packing = {"compression.type": "zstd", "message.max.bytes": 5_000_000}
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, **packing})
    producer.produce(broker.prefix + TOPIC, b"0" * 3_000_000, partition=0)
    assert producer.flush(60) == 0
    for number in (0, 1):
        broker.put(TOPIC, GOOD, partition=number)

    def places() -> set[tuple[int | None, int | None]]:
        return {(event.partition, event.offset) for event in strange.got}

    with consuming(strange.group):
        wait_for(lambda: "cannot read on in" in caplog.text)
        wait_for(lambda: broker.committed("strange", TOPIC, 1) == 1)
    assert places() == {(1, 0)}
    (said,) = {record.getMessage() for record in caplog.records if "cannot read on in" in record.getMessage()}
    command = "groups --reset strange --topic ledger.entry-made --partition 0 --to"
    assert f"manage.py events {command} OFFSET" in said
    call_command("events", *command.split(), "1", "--yes", "--timeout=60", stdout=StringIO())
    with consuming(strange.group):
        wait_for(lambda: broker.committed("strange", TOPIC, 0) == 2)
    assert places() == {(1, 0), (0, 1)}


@pytest.mark.kafka
@pytest.mark.postgres
def test_many_strangers_on_a_real_kafka(broker: Broker, consuming: Consuming, declarations: None) -> None:
    group = ConsumerGroup("strange")
    got: list[tuple[int | None, int | None]] = []

    @group.exactly_once(entry_made, retry=False, on_failure=OnFailure.SAVE)
    def note(event: Event[EntryMade]) -> None:
        got.append((event.partition, event.offset))

    topics.create_missing([TOPIC], timeout=60)
    put_all(broker, TOPIC, drawn(records(TOPIC), int(os.environ.get("EXAMPLES", "300"))))
    with consuming(group):
        wait_for(lambda: passed(broker, "strange", TOPIC))
        wait_for(lambda: passed(broker, "strange-dead-letter", LETTERS))
    letters = {(each.partition, each.offset): each for each in DeadLetter.objects.all()}
    written = {(record.partition, record.offset): record for record in broker.read(TOPIC)}
    assert {*got}.isdisjoint(letters)
    assert {*got} | {*letters} == {*written}
    assert {place for place, record in written.items() if (record.key or b"").startswith(b"good-")} <= {*got}
    for place, letter in letters.items():
        record = written[place]
        assert (letter.key and bytes(letter.key), letter.value and bytes(letter.value)) == (record.key, record.value)
        assert letter.exception and letter.message


@pytest.mark.kafka
@pytest.mark.postgres
def test_many_letters_of_strangers_on_a_real_kafka(
    broker: Broker, consuming: Consuming, declarations: None, caplog: pytest.LogCaptureFixture
) -> None:
    group = ConsumerGroup("strange")

    @group.exactly_once(entry_made, on_failure=OnFailure.SAVE)
    def note(event: Event[EntryMade]) -> None: ...

    broker.create(LETTERS)
    topics.create_missing([TOPIC], timeout=60)
    strangers = drawn(records(LETTERS, of_letters=True), int(os.environ.get("EXAMPLES", "300")))
    put_all(broker, LETTERS, strangers)
    with consuming(group):
        wait_for(lambda: passed(broker, "strange-dead-letter", LETTERS))
    found = {each.key_text: each for each in DeadLetter.objects.all()}
    assert {f"good-{number}" for number in range(len(strangers))} <= {*found}
    assert "cannot be brought in" not in caplog.text
