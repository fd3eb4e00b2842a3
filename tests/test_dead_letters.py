"""P8 and P11: a letter is the event and what went wrong; no offset passes before Kafka has it; it is read once."""

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from confluent_kafka.admin import AlterConfigOpType, ClusterMetadata, ConfigEntry, ConfigResource, ResourceType
from django.core.management import call_command
from django.db import OperationalError

from django_events import Backoff, ConsumerGroup, Event, OnFailure
from django_events.consuming import dead_letter, letter_writer, repair
from django_events.consuming.letter_rebuild import rebuild
from django_events.consuming.letter_writer import LetterWriter
from django_events.consuming.service import Service
from django_events.kafka import dead_letter_topics, topics, whole_topics
from django_events.kafka.consumer import Consumer
from django_events.kafka.record import Partition, ReceivedRecord
from django_events.models import DeadLetter, DeadLetterAttempt, State
from tests.broker import Broker, Seen
from tests.ledger.events import EntryMade, entry_closed, entry_made
from tests.ledger.models import Entry
from tests.letters import a_letter, project, the_letter
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.usefixtures("declarations")]

Consuming = Callable[..., AbstractContextManager[Service]]
Headers = list[tuple[str, bytes | None]]

TOPIC, LETTERS = "ledger.entry-made", "ledger.entry-made.ward.dead-letter"
BODY = b'{"account":"bad","number":2}'
FAST = Backoff(first=0.05, max=0.1)


@pytest.fixture(autouse=True)
def created(broker: Broker) -> None:
    topics.create_missing([TOPIC, "ledger.entry-closed"], timeout=60)
    wait_for(lambda: broker.exists(TOPIC) and broker.exists("ledger.entry-closed"))


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy Kafka has time to answer: a letter that it has not acknowledged would be written once more."""
    monkeypatch.setattr(letter_writer, "WAIT", 50.0)
    monkeypatch.setattr(whole_topics, "WAIT", 60.0)


@pytest.fixture
def ward() -> ConsumerGroup:
    return ConsumerGroup("ward")


def refuse(group: ConsumerGroup, text: str = "no", **options: Any) -> list[str | None]:
    """Declare a handler that refuses everything; the keys of its calls."""
    calls: list[str | None] = []

    @group.idempotent(entry_made, entry_closed, **{"on_failure": OnFailure.SAVE, "retry": False, **options})
    def treat(event: Event[EntryMade]) -> None:
        calls.append(event.key)
        raise ValueError(text)

    return calls


def set_config(broker: Broker, topic: str, **config: str) -> None:
    entries = [
        ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for name, value in config.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, broker.prefix + topic, incremental_configs=entries)
    for answer in broker.admin.incremental_alter_configs([resource]).values():
        answer.result()


def config(broker: Broker, topic: str) -> dict[str, str]:
    (answer,) = broker.admin.describe_configs([ConfigResource(ResourceType.TOPIC, broker.prefix + topic)]).values()
    return {name: entry.value for name, entry in answer.result().items()}


def split(headers: Headers) -> tuple[Headers, dict[str, str]]:
    """The event's own headers, and what is said of the failure."""
    own = [(name, value) for name, value in headers if not name.startswith("dead-letter-")]
    about = [(name, (value or b"").decode()) for name, value in headers if name.startswith("dead-letter-")]
    assert len(dict(about)) == len(about), "a header is repeated"
    return own, dict(about)


def letters(broker: Broker) -> list[Seen]:
    return broker.read(LETTERS) if broker.exists(LETTERS) else []


# ── the letter ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_letter_is_the_event_and_what_went_wrong(broker: Broker, consuming: Consuming, ward: ConsumerGroup) -> None:
    refuse(ward, "the bill\0 is wrong")
    headers: Headers = [
        ("x", b"1"), ("x", b"\xff"), ("none", None), ("empty", b""), ("ce_id", b"7"),
        ("dead-letter-id", b"old"), ("Dead-Letter-handler", b"old"),
    ]  # fmt: skip
    broker.put(TOPIC, BODY, key=b"\xffkey", headers=headers, partition=1)
    with consuming(ward):
        wait_for(DeadLetter.objects.exists)
    (seen,) = letters(broker)
    own, about = split(seen.headers)
    assert (seen.key, seen.value) == (b"\xffkey", BODY)
    assert own == headers[:5]
    assert about.keys() == {
        f"dead-letter-{name}" for name in (
            "id", "handler", "attempts", "exception", "message", "traceback", "first-failed", "last-failed", "topic",
            "partition", "offset",
        )
    }  # fmt: skip
    assert about["dead-letter-handler"] == "treat"
    assert about["dead-letter-attempts"] == "1"
    assert about["dead-letter-exception"] == "ValueError"
    assert about["dead-letter-message"] == "the bill\\0 is wrong"
    assert "in treat" in about["dead-letter-traceback"]
    assert (about["dead-letter-topic"], about["dead-letter-partition"], about["dead-letter-offset"]) == (
        TOPIC,
        "1",
        "0",
    )
    assert about["dead-letter-id"] != "old"


def test_its_topic_is_like_the_events_topic_but_never_forgets(
    broker: Broker, consuming: Consuming, ward: ConsumerGroup
) -> None:
    broker.create("odd", partitions=5, max_message_bytes="5000", cleanup_policy="compact")
    refuse(ward)
    from django_events import Topic

    @ward.idempotent(Topic("odd", EntryMade), name="odd")
    def fail(event: Event[EntryMade]) -> None: ...

    with consuming(ward):
        wait_for(lambda: broker.exists("odd.ward.dead-letter"))
    found = config(broker, "odd.ward.dead-letter")
    assert (found["cleanup.policy"], found["retention.ms"], found["retention.bytes"]) == ("delete", "-1", "-1")
    assert int(found["max.message.bytes"]) == 5000 + 65_536
    assert len(broker.partitions("odd.ward.dead-letter")) == 5


def test_a_letter_above_the_limit_of_its_topic_loses_its_traceback_first(
    broker: Broker, consuming: Consuming, ward: ConsumerGroup
) -> None:
    refuse(ward)
    broker.create(LETTERS, retention_ms="-1", max_message_bytes="800")
    broker.put(TOPIC, BODY, key=b"k", partition=0)
    with consuming(ward):
        wait_for(DeadLetter.objects.exists)
    (seen,) = letters(broker)
    _, about = split(seen.headers)
    assert "dead-letter-traceback" not in about
    assert about["dead-letter-message"] == "no"


def test_an_event_of_the_largest_size_has_a_letter(broker: Broker, consuming: Consuming, ward: ConsumerGroup) -> None:
    refuse(ward, "é" * 100_000)
    account = b"a" * 999_000
    broker.put(TOPIC, b'{"account":"%b","number":1}' % account, partition=0)
    with consuming(ward):
        letter = the_letter()
    assert len(letter.value or b"") > 999_000
    assert letter.message.endswith("…")


# ── no offset passes before Kafka has it ─────────────────────────────────────────────────────────────────────────────


def test_a_letter_that_cannot_be_written_holds_its_partition_and_no_other(
    broker: Broker, consuming: Consuming, ward: ConsumerGroup, caplog: Any
) -> None:
    refuse(ward)
    broker.create(LETTERS, retention_ms="-1", max_message_bytes="300")  # too small for any letter
    broker.put(TOPIC, BODY, key=b"k", partition=0)
    broker.put("ledger.entry-closed", BODY, key=b"k", partition=0)
    with consuming(ward):
        wait_for(lambda: broker.committed("ward", "ledger.entry-closed", 0) == 1)
        wait_for(lambda: "could not be written" in caplog.text)
        assert broker.committed("ward", TOPIC, 0) is None
        set_config(broker, LETTERS, max_message_bytes="100000")
        wait_for(lambda: broker.committed("ward", TOPIC, 0) == 1)
        wait_for(lambda: DeadLetter.objects.count() == 2)
    assert len(letters(broker)) == 1


def test_a_missing_topic_that_may_not_be_created_is_said_at_the_start_and_waited_for(
    broker: Broker, consuming: Consuming, ward: ConsumerGroup, settings: Any, caplog: Any
) -> None:
    settings.DJANGO_EVENTS = settings.DJANGO_EVENTS | {"AUTO_CREATE_TOPICS": False}
    calls = refuse(ward)
    with consuming(ward):
        wait_for(lambda: "is missing and could not be created" in caplog.text)
        assert "Create it with as many partitions as" in caplog.text
        broker.put(TOPIC, BODY, key=b"k", partition=0)
        wait_for(lambda: "does not have the topic" in caplog.text)
        assert broker.committed("ward", TOPIC, 0) is None
        broker.create(LETTERS, retention_ms="-1")
        wait_for(DeadLetter.objects.exists)
        wait_for(lambda: broker.committed("ward", TOPIC, 0) == 1)
    assert calls == ["k"]


def test_a_topic_is_made_though_a_broker_tells_late_of_the_one_that_it_is_for(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has created that just now, and this broker has not heard of it."""
    told: list[ClusterMetadata] = []
    metadata = topics.metadata

    def told_late(*arguments: Any) -> ClusterMetadata:
        told.append(metadata(*arguments))
        if len(told) == 1:
            del told[0].topics[broker.prefix + TOPIC]
        return told[-1]

    monkeypatch.setattr(topics, "metadata", told_late)
    assert not dead_letter_topics.ensure("ward", [TOPIC], 60)
    wait_for(lambda: broker.exists(LETTERS))


def test_a_topic_that_forgets_letters_is_said_at_the_start(
    broker: Broker, consuming: Consuming, ward: ConsumerGroup, caplog: Any
) -> None:
    refuse(ward)
    broker.create(LETTERS, cleanup_policy="compact", retention_ms="1000")
    with consuming(ward):
        wait_for(lambda: "has cleanup.policy=compact, so Kafka may forget dead letters" in caplog.text)
    assert "has retention.ms=1000" in caplog.text


def test_letters_that_wait_to_be_written_hold_up_no_other_handling(
    broker: Broker, consuming: Consuming, ward: ConsumerGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than works are handed out ahead."""
    answers, handled = threading.Event(), threading.Event()
    write = LetterWriter._write

    def wait(writer: LetterWriter, works: Any) -> Any:
        answers.wait(60)
        return write(writer, works)

    monkeypatch.setattr(LetterWriter, "_write", wait)
    refuse(ward)

    @ward.idempotent(entry_closed, name="other")
    def handle(event: Event[EntryMade]) -> None:
        handled.set()

    for number in range(100):
        broker.put(TOPIC, BODY, key=b"%d" % number, partition=0)
    with consuming(ward) as service:
        (group,) = service._groups
        wait_for(lambda: sum(work.letter is not None for work in tuple(group._running)) == 100)
        broker.put("ledger.entry-closed", BODY, partition=0)
        assert handled.wait(60)
        answers.set()
        wait_for(lambda: broker.committed("ward", TOPIC, 0) == 100)
        wait_for(lambda: not group._running)


def test_the_offset_of_a_letter_passes_when_it_is_in_the_table(
    broker: Broker, consuming: Consuming, ward: ConsumerGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(ward)
    broker.put(TOPIC, BODY, key=b"k", partition=0)
    tries: list[object] = []

    def fail(*given: object, **options: object) -> None:
        tries.append(given)
        raise OperationalError("away")

    with monkeypatch.context() as away:
        away.setattr(DeadLetter.objects, "project", fail)
        with consuming(ward):
            wait_for(lambda: tries)
    assert [broker.committed("ward-dead-letter", LETTERS, partition) for partition in (0, 1)] == [None, None]
    with consuming(ward):
        wait_for(DeadLetter.objects.exists)


# ── it is read once ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_topic_that_is_read_again_brings_nothing_back(
    broker: Broker, consuming: Consuming, ward: ConsumerGroup
) -> None:
    refuse(ward)
    broker.put(TOPIC, BODY, key=b"a", partition=0)
    broker.put(TOPIC, BODY, key=b"b", partition=0)
    with consuming(ward):
        wait_for(lambda: DeadLetter.objects.count() == 2)
        repair.discard([DeadLetter.objects.earliest("pk").pk], "not needed", "ann")
        wait_for(lambda: sum(broker.committed("ward-dead-letter", LETTERS, part) or 0 for part in (0, 1)) == 2)

    def is_forgotten() -> bool:
        """Not as long as a busy Kafka has not heard that its last member has left it."""
        (answer,) = broker.admin.delete_consumer_groups([f"{broker.prefix}ward-dead-letter"]).values()
        return answer.exception() is None

    wait_for(is_forgotten)
    with consuming(ward):
        wait_for(lambda: sum(broker.committed("ward-dead-letter", LETTERS, part) or 0 for part in (0, 1)) == 2)
    assert sorted(DeadLetter.objects.values_list("state", flat=True)) == [State.DISCARDED, State.WAITING]


def test_an_offset_that_could_not_be_committed_is_committed_again(
    broker: Broker, consuming: Consuming, ward: ConsumerGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka's answer to a commit comes later, inside of a poll; and no other letter may ever follow."""
    commit, poll = Consumer.commit, Consumer.poll
    answers: list[tuple[Consumer, set[Partition]]] = []
    failures: list[Mapping[Partition, int]] = []

    def fail_once(self: Consumer, offsets: Mapping[Partition, int], *, wait: bool) -> None:
        if failures or LETTERS not in {partition.topic for partition in offsets}:
            commit(self, offsets, wait=wait)
            return
        failures.append(offsets)
        answers.append((self, set(offsets)))

    def poll_and_hear(self: Consumer, timeout: float) -> ReceivedRecord | None:
        if answers and answers[0][0] is self:
            self._uncommitted |= answers.pop()[1]
        return poll(self, timeout)

    monkeypatch.setattr(Consumer, "commit", fail_once)
    monkeypatch.setattr(Consumer, "poll", poll_and_hear)
    refuse(ward)
    broker.put(TOPIC, BODY, key=b"a", partition=0)
    with consuming(ward):
        wait_for(lambda: sum(broker.committed("ward-dead-letter", LETTERS, part) or 0 for part in (0, 1)) == 1)
    assert failures


def test_what_the_database_has_lost_is_brought_in_from_kafka(
    broker: Broker, consuming: Consuming, ward: ConsumerGroup
) -> None:
    refuse(ward, on_failure=OnFailure.RETRY_LATER)
    for key in (b"a", b"b", b"c"):
        broker.put(TOPIC, BODY, key=key, partition=0)
    with consuming(ward):
        wait_for(lambda: DeadLetter.objects.count() == 3)
    repair.discard([DeadLetter.objects.earliest("pk").pk], "not needed", "ann")
    *_, found = rebuild([ward], retry=True, dry_run=False)
    assert (found.read, found.missing) == (3, 0)

    for model in (DeadLetterAttempt, DeadLetter):
        model.objects.all().delete()
    *_, found = rebuild([ward], [TOPIC], retry=False, dry_run=True)
    assert (found.read, found.missing, DeadLetter.objects.count()) == (3, 3, 0)
    *_, found = rebuild([ward], ["ledger.entry-closed"], retry=False, dry_run=False)
    assert found.read == 0
    output = StringIO()
    call_command("events", "dead-letters", "rebuild", "--group=ward", "--json", stdout=output)
    assert json.loads(output.getvalue()) == {"read": 3, "missing": 3, "dry_run": False}
    assert [letter.due_at for letter in DeadLetter.objects.all()] == [None] * 3  # whatever was closed is not run again


def test_letters_that_were_there_first_are_read(broker: Broker, consuming: Consuming, ward: ConsumerGroup) -> None:
    refuse(ward)
    broker.create(LETTERS, retention_ms="-1")
    broker.put(LETTERS, BODY, partition=0)
    with consuming(ward):
        wait_for(DeadLetter.objects.exists)


@pytest.mark.django_db
def test_a_rebuild_takes_no_letters_of_a_group_whose_name_ends_alike(broker: Broker, ward: ConsumerGroup) -> None:
    north = ConsumerGroup("north.ward")
    refuse(ward)
    refuse(north)
    broker.create(f"{TOPIC}.north.ward.dead-letter", retention_ms="-1")
    broker.put(f"{TOPIC}.north.ward.dead-letter", BODY, partition=0)
    *_, found = rebuild([ward], retry=False, dry_run=True)
    assert found.read == 0
    *_, found = rebuild([north], retry=False, dry_run=True)
    assert found.read == 1


@pytest.mark.django_db
def test_a_rebuild_goes_on_after_a_letter_that_the_database_refuses(
    broker: Broker, ward: ConsumerGroup, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    refuse(ward)
    broker.create(LETTERS, retention_ms="-1")
    for _ in range(3):
        broker.put(LETTERS, BODY, partition=0)
    decode = dead_letter.decode

    def spoil(record: Any, *others: Any) -> Any:
        for letter in decode(record, *others):
            yield replace(letter, attempts=2**40) if record.offset == 1 else letter

    monkeypatch.setattr(dead_letter, "decode", spoil)
    *_, found = rebuild([ward], retry=False, dry_run=False)
    assert (found.read, found.missing, DeadLetter.objects.count()) == (3, 2, 2)
    assert "The dead letter 0@1 of ledger.entry-made cannot be brought in" in caplog.text


def test_letters_of_strangers_are_kept_whatever_they_say(
    broker: Broker, consuming: Consuming, ward: ConsumerGroup
) -> None:
    refuse(ward)
    broker.create(LETTERS, retention_ms="-1")
    nonsense: Headers = [
        ("dead-letter-id", b"\xff" * 5000), ("dead-letter-handler", b"treat"), ("dead-letter-attempts", b"many"),
        ("dead-letter-partition", b"-1"), ("dead-letter-offset", b"9" * 40), ("dead-letter-first-failed", b"once"),
        ("dead-letter-last-failed", b"0000-13-01"), ("dead-letter-message", b"\x00<script>\xfe"),
        ("dead-letter-exception", None), ("dead-letter-topic", b"elsewhere"), ("ce_id", b"i" * 5000),
    ]  # fmt: skip
    broker.put(LETTERS, b"\x00\xff", key=b"\x00" * 3000, headers=nonsense, partition=0)
    broker.put(LETTERS, None, headers=[("dead-letter-handler", b"gone" * 100)], partition=0)
    broker.put(LETTERS, BODY, headers=[("dead-letter-handler", None)], partition=0)
    with consuming(ward):
        wait_for(lambda: DeadLetter.objects.count() == 3)
        wait_for(lambda: broker.committed("ward-dead-letter", LETTERS, 0) == 3)
    first, gone, unnamed = DeadLetter.objects.order_by("letter_offset")
    assert (first.topic, first.partition, first.offset) == (TOPIC, -1, 0)  # it does not say where its event was
    assert first.message == "\\0<script>\\xfe"
    assert (gone.automatic, len(gone.handler), gone.value) == (True, 200, None)
    assert unnamed.handler == "treat"


# ── only the handler that failed ─────────────────────────────────────────────────────────────────────────────────────


def test_a_retry_runs_only_the_handler_that_failed(broker: Broker, consuming: Consuming, ward: ConsumerGroup) -> None:
    healed: list[bool] = []
    seen: list[Event[EntryMade]] = []

    @ward.exactly_once(entry_made, retry=False, on_failure=OnFailure.SAVE)
    def fail_once(event: Event[EntryMade]) -> None:
        seen.append(event)
        Entry.objects.create(handler="fail_once", account="", number=1, process=0)
        if not healed:
            raise ValueError("no")

    @ward.exactly_once(entry_made)
    def beside(event: Event[EntryMade]) -> None:
        Entry.objects.create(handler="beside", account="", number=1, process=0)

    broker.put(TOPIC, BODY, key=b"k", headers=[("x", b"1"), ("ce_id", b"7"), ("ce_source", b"s")], partition=1)
    with consuming(ward):
        letter = the_letter()
        healed.append(True)
        assert repair.retry([letter.pk]).done == 1
        wait_for(lambda: DeadLetter.objects.filter(state=State.RESOLVED).exists())
        assert repair.retry([letter.pk]).closed == 1
    assert sorted(Entry.objects.values_list("handler", flat=True)) == ["beside", "fail_once"]
    first, again = seen
    for name in ("topic", "key", "payload", "id", "source", "headers", "partition", "offset", "identity", "handler"):
        assert getattr(first, name) == getattr(again, name), name
    assert (first.attempt, again.attempt) == (1, 2)


def test_a_letter_of_a_handler_that_makes_none_any_more_is_tried(consuming: Consuming, ward: ConsumerGroup) -> None:
    @ward.idempotent(entry_made, on_failure=OnFailure.BLOCK)
    def treat(event: Event[EntryMade]) -> None: ...

    (letter,) = project(a_letter(group_name="ward", handler="treat", automatic=False))
    with consuming(ward):
        assert repair.retry([letter.pk]).done == 1
        wait_for(lambda: DeadLetter.objects.get().state == State.RESOLVED)


def test_events_without_an_id_are_told_apart_in_letters_too(
    broker: Broker, consuming: Consuming, ward: ConsumerGroup
) -> None:
    refuse(ward)
    broker.put(TOPIC, BODY, partition=0)
    broker.put(TOPIC, BODY, partition=0)
    with consuming(ward):
        wait_for(lambda: DeadLetter.objects.count() == 2)


def test_later_events_of_a_key_are_tried_one_after_the_other(
    broker: Broker, consuming: Consuming, ward: ConsumerGroup
) -> None:
    """The letters of one key are tried in the order in which they were written; each waits for the one before it."""
    healed: list[bool] = []
    done: list[int] = []

    @ward.exactly_once(entry_made, retry=False, retry_later=FAST)
    def fail_first(event: Event[EntryMade]) -> None:
        if not healed:
            raise ValueError("no")
        done.append(event.offset or 0)

    for _ in range(3):
        broker.put(TOPIC, BODY, key=b"k", partition=0)
    with consuming(ward):
        wait_for(lambda: DeadLetter.objects.count() == 3)
        wait_for(lambda: DeadLetter.objects.earliest("pk").retries > 2)
        assert DeadLetter.objects.filter(retries=0).count() == 2
        healed.append(True)
        wait_for(lambda: DeadLetter.objects.filter(state=State.RESOLVED).count() == 3)
    assert done == [0, 1, 2]
