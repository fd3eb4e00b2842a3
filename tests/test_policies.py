"""P10: what a handler has declared for its failures is what follows, and nobody else's events notice."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from django_events import Backoff, ConsumerGroup, DoNotRetry, Event, IgnoreError, OnFailure, signals
from django_events.consuming.service import Service
from django_events.kafka import topics
from django_events.models import DeadLetter, State
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_made
from tests.ledger.models import Entry
from tests.letters import the_letter
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.usefixtures("declarations")]

Consuming = Callable[..., AbstractContextManager[Service]]

TOPIC, LETTERS = "ledger.entry-made", "ledger.entry-made.ward.dead-letter"
GOOD, BAD = b'{"account":"ann","number":1}', b'{"account":"bad","number":2}'
FAST = Backoff(first=0.05, max=0.1)


@pytest.fixture(autouse=True)
def created(broker: Broker) -> None:
    topics.create_missing([TOPIC], timeout=60)


@pytest.fixture
def ward() -> ConsumerGroup:
    return ConsumerGroup("ward")


@pytest.fixture
def failures() -> Any:
    """What ``event_failed`` tells: the attempt and what follows."""
    found: list[tuple[int, str]] = []

    def note(attempt: int, follows: str, **_: object) -> None:
        found.append((attempt, follows))

    signals.event_failed.connect(note)
    yield found
    signals.event_failed.disconnect(note)


def put(broker: Broker, *values: bytes) -> None:
    for value in values:
        broker.put(TOPIC, value, key=value[12:15], partition=0)


def refuse_bad(group: ConsumerGroup, error: BaseException, **options: Any) -> list[str]:
    """Declare a handler that refuses one account; the accounts of its calls."""
    calls: list[str] = []

    @group.exactly_once(entry_made, **options)
    def treat(event: Event[EntryMade]) -> None:
        calls.append(event.payload.account)
        Entry.objects.create(handler="treat", account=event.payload.account, number=1, process=0)
        if event.payload.account == "bad":
            raise error

    return calls


def wait_until_passed(broker: Broker, offset: int, group: str = "ward") -> None:
    wait_for(lambda: broker.committed(group, TOPIC, 0) == offset)


def treated() -> list[str]:
    return list(Entry.objects.filter(handler="treat").values_list("account", flat=True))


# ── what follows ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_discard_gives_the_event_up(broker: Broker, consuming: Consuming, ward: ConsumerGroup, failures: Any) -> None:
    calls = refuse_bad(ward, ValueError("no"), on_failure=OnFailure.DISCARD, retry=FAST, timeout=0.2)
    put(broker, BAD, GOOD)
    with consuming(ward):
        wait_until_passed(broker, 2)
    assert calls.count("bad") > 1
    assert failures[-1] == (calls.count("bad"), "discarded")
    assert treated() == ["ann"]
    assert not broker.exists(LETTERS)
    assert not DeadLetter.objects.exists()


def test_a_receiver_that_wants_to_end_the_process_ends_no_group(
    broker: Broker, consuming: Consuming, ward: ConsumerGroup, caplog: Any
) -> None:
    def end(**_: object) -> None:
        raise SystemExit

    refuse_bad(ward, ValueError("no"), on_failure=OnFailure.DISCARD, retry=False)
    put(broker, BAD, GOOD)
    signals.event_failed.connect(end)
    try:
        with consuming(ward):
            wait_until_passed(broker, 2)
    finally:
        signals.event_failed.disconnect(end)
    assert "A receiver of event_failed failed" in caplog.text


def test_block_holds_the_key_and_the_offset_for_ever(broker: Broker, consuming: Consuming, ward: ConsumerGroup) -> None:
    calls = refuse_bad(ward, ValueError("no"), on_failure=OnFailure.BLOCK, retry=FAST)
    put(broker, GOOD, BAD, BAD, GOOD)
    with consuming(ward):
        wait_for(lambda: calls.count("bad") > 10 and calls.count("ann") == 2)
        wait_until_passed(broker, 1)
    assert not broker.exists(LETTERS)


def test_block_does_not_retry_what_must_not_be_retried(
    broker: Broker, consuming: Consuming, ward: ConsumerGroup, caplog: Any
) -> None:
    calls = refuse_bad(ward, DoNotRetry("no"), on_failure=OnFailure.BLOCK, retry=FAST)
    put(broker, BAD, BAD, GOOD, GOOD)
    with consuming(ward):
        wait_for(lambda: calls.count("ann") == 2)
        wait_for(lambda: "its key waits until this process is replaced" in caplog.text)
    assert calls.count("bad") == 1
    assert broker.committed("ward", TOPIC, 0) is None


def test_save_makes_a_letter_that_waits_for_an_operator(
    broker: Broker, consuming: Consuming, ward: ConsumerGroup
) -> None:
    calls = refuse_bad(ward, ValueError("no"), on_failure=OnFailure.SAVE, retry=False)
    put(broker, BAD, GOOD)
    with consuming(ward):
        letter = the_letter()
        wait_until_passed(broker, 2)
        assert (letter.state, letter.due_at, letter.attempts) == (State.WAITING, None, 1)
    assert calls == ["bad", "ann"] or calls == ["ann", "bad"]


def test_retry_later_makes_a_letter_that_is_tried_by_itself(
    broker: Broker, consuming: Consuming, ward: ConsumerGroup
) -> None:
    calls: list[int | None] = []

    @ward.exactly_once(entry_made, retry=2, retry_later=FAST)
    def recover(event: Event[EntryMade]) -> None:
        calls.append(event.attempt)
        Entry.objects.create(handler="recover", account="", number=event.attempt or 0, process=0)
        if len(calls) < 5:
            raise ValueError("not yet")

    put(broker, BAD)
    with consuming(ward):
        wait_for(lambda: DeadLetter.objects.filter(state=State.RESOLVED).exists())
    letter = DeadLetter.objects.get()
    assert calls == [1, 2, 3, 4, 5]
    assert list(Entry.objects.values_list("number", flat=True)) == [5]
    assert list(letter.tries.order_by("pk").values_list("attempts", "exception")) == [
        (2, "ValueError"), (1, "ValueError"), (1, "ValueError"), (1, "")]  # fmt: skip


def test_an_undecodable_record_is_a_failure_of_each_handler_that_is_never_retried(
    broker: Broker, consuming: Consuming, ward: ConsumerGroup
) -> None:
    for name in ("one", "two"):

        @ward.idempotent(entry_made, name=name, retry_later=FAST)
        def never_called(event: Event[EntryMade]) -> None:
            raise AssertionError

    broker.put(TOPIC, b"{", partition=0)
    with consuming(ward):
        wait_for(lambda: DeadLetter.objects.count() == 2)
        wait_until_passed(broker, 1)
    for letter in DeadLetter.objects.all():
        assert (letter.attempts, letter.automatic, letter.due_at) == (1, False, None)
        assert letter.exception == "django_events.exceptions.DecodeError"
        assert "is not JSON of EntryMade" in letter.message


# ── what the handler says ────────────────────────────────────────────────────────────────────────────────────────────


class Hopeless(LookupError):
    pass


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (DoNotRetry("never"), {}),
        (Hopeless("never"), {"never_retry": LookupError}),
        (Hopeless("never"), {"never_retry": (KeyError, Hopeless)}),
        (ValueError("once"), {"retry": False}),
    ],
)
def test_what_is_not_to_be_retried_is_a_letter_at_once(
    broker: Broker,
    consuming: Consuming,
    ward: ConsumerGroup,
    failures: Any,
    error: BaseException,
    options: dict[str, Any],
) -> None:
    refuse_bad(ward, error, **options)
    put(broker, BAD)
    with consuming(ward):
        letter = the_letter()
        wait_until_passed(broker, 1)
    assert failures[0] == (1, "buried")
    assert letter.automatic is (options == {"retry": False})  # else trying again would not help


def test_a_number_of_tries_is_the_number_of_tries(
    broker: Broker, consuming: Consuming, ward: ConsumerGroup, failures: Any
) -> None:
    refuse_bad(ward, ValueError("no"), retry=2, on_failure=OnFailure.SAVE)
    put(broker, BAD)
    with consuming(ward):
        letter = the_letter()
    assert letter.attempts == 2
    assert letter.first_failed < letter.last_failed
    assert failures == [(1, "again"), (2, "buried")]


def test_ignore_error_passes_the_event_over(
    broker: Broker, consuming: Consuming, ward: ConsumerGroup, failures: Any, caplog: Any
) -> None:
    calls = refuse_bad(ward, IgnoreError("nobody misses it"))
    put(broker, BAD, GOOD)
    with consuming(ward):
        wait_until_passed(broker, 2)
    assert calls.count("bad") == 1
    assert failures == [(1, "ignored")]
    assert treated() == ["ann"]
    assert "it is passed over. nobody misses it" in caplog.text
    assert not DeadLetter.objects.exists()


# ── nobody else notices ──────────────────────────────────────────────────────────────────────────────────────────────


def test_one_handlers_failure_repeats_nothing_of_another_and_stops_no_other_group(
    broker: Broker, consuming: Consuming, ward: ConsumerGroup
) -> None:
    other_group = ConsumerGroup("elsewhere")
    calls = []

    @ward.exactly_once(entry_made, retry=3, retry_later=FAST)
    def fail(event: Event[EntryMade]) -> None:
        calls.append(event.attempt)
        if len(calls) < 6:
            raise ValueError("not yet")

    for group, name in ((ward, "beside"), (other_group, "elsewhere")):

        @group.exactly_once(entry_made, name=name)
        def succeed(event: Event[EntryMade]) -> None:
            Entry.objects.create(handler=event.handler or "", account="", number=event.attempt or 0, process=0)

    put(broker, BAD)
    with consuming(ward, other_group):
        wait_until_passed(broker, 1, "elsewhere")
        wait_for(lambda: DeadLetter.objects.filter(state=State.RESOLVED).exists())
    assert len(calls) == 6
    assert sorted(Entry.objects.values_list("handler", "number")) == [("beside", 1), ("elsewhere", 1)]
