"""The thread that has letters tried: it rests while its workers work, and nothing stops it for good."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models import F

from django_events import Backoff, ConsumerGroup, DoNotRetry, Event, IgnoreError, OnFailure, signals
from django_events.consuming import repair
from django_events.consuming.letter_policy import tried
from django_events.consuming.letter_retrier import LEASE, Leased, LetterRetrier
from django_events.consuming.letters import handler_of, letter_record
from django_events.consuming.outcome import failed
from django_events.consuming.service import Service
from django_events.consuming.workers import Result, Workers
from django_events.kafka import topics
from django_events.models import DeadLetter, State, Tried
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_made
from tests.ledger.handlers import clinic
from tests.letters import a_letter, project, the_letter
from tests.waiting import wait_for

Consuming = Callable[..., AbstractContextManager[Service]]

TOPIC = "ledger.entry-made"


@pytest.fixture
def retrier() -> Iterator[LetterRetrier]:
    """A retrier whose thread does not run; its workers do."""
    retrier = LetterRetrier(clinic)
    retrier._workers = Workers(2, "retrier")
    yield retrier
    retrier._workers.stop(5)


def end_leases(**which: Any) -> None:
    """Let the time pass that leases last, and new letters wait for."""
    DeadLetter.objects.filter(**which).update(due_at=F("saved_at"))


def leased() -> DeadLetter:
    project(a_letter(key=None))
    end_leases(state=State.WAITING)
    (letter,) = DeadLetter.objects.lease("clinic", {"cure": [TOPIC]}, 1, LEASE, "default")
    return letter


def handled() -> Tried:
    now = datetime.now(UTC)
    return Tried(resolved=True, counts=True, began=now, ended=now, host="here")


def test_it_waits_for_results_while_every_worker_is_busy(retrier: LetterRetrier) -> None:
    letters = [Leased(DeadLetter(pk=number), datetime.now(UTC)) for number in (1, 2)]
    retrier._running.add(letters[0])
    assert not retrier._seconds_to_next_look()
    retrier._running.add(letters[1])
    assert retrier._seconds_to_next_look()


@pytest.mark.django_db
def test_a_lease_that_could_not_be_renewed_is_renewed_before_anything_else_is_done(
    retrier: LetterRetrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    retrier._running.add(Leased(leased(), datetime.now(UTC)))
    with monkeypatch.context() as away:
        away.setattr(DeadLetter.objects, "renew", _fail)
        with pytest.raises(OperationalError):
            retrier._renew_leases(100.0)
    end_leases()
    retrier._renew_leases(100.1)
    assert not DeadLetter.objects.lease("clinic", {"cure": [TOPIC]}, 1, LEASE, "default")


def _fail(*_: object) -> None:
    raise OperationalError("away")


@pytest.mark.django_db(transaction=True)
@pytest.mark.postgres
@pytest.mark.parametrize("spoil", ["it is deleted", "its numbers are full"])
def test_a_result_that_cannot_be_written_down_stops_no_other(retrier: LetterRetrier, caplog: Any, spoil: str) -> None:
    mine, good = leased(), leased()
    if spoil == "it is deleted":
        DeadLetter.objects.get(pk=mine.pk).delete()
    else:
        DeadLetter.objects.filter(pk=mine.pk).update(attempts=2**31 - 1)
    failure = failed(ValueError("no"), letter_record(mine))
    outcome = tried(failure, handler_of(mine), mine, datetime.now(UTC), "here")
    retrier._unsaved.extend([(mine, outcome), (good, handled())])
    retrier._save_what_is_known()
    assert f"What came of dead letter {mine.pk} cannot be written down" in caplog.text
    assert DeadLetter.objects.get(pk=good.pk).state == State.RESOLVED


@pytest.mark.django_db
def test_the_second_delay_of_a_letter_is_longer_than_the_first(declarations: None) -> None:
    ward = ConsumerGroup("ward")

    @ward.exactly_once(entry_made, retry_later=Backoff(first=30, max=1000, jitter=0))
    def treat(event: Event[EntryMade]) -> None: ...

    (letter,) = project(a_letter())
    delays = []
    for letter.retries in range(3):
        failure = failed(ValueError("no"), letter_record(letter))
        delays.append(tried(failure, ward.handlers[0], letter, datetime.now(UTC), "here").delay)
    assert delays == [60, 120, 240]  # the first, of 30 s, began with the letter


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("error", "follows"), [(ValueError("no"), "again"), (DoNotRetry("no"), "kept"), (IgnoreError("no"), "ignored")]
)
def test_what_follows_a_failed_try_is_told(declarations: None, error: Exception, follows: str) -> None:
    ward = ConsumerGroup("ward")

    @ward.exactly_once(entry_made)
    def treat(event: Event[EntryMade]) -> None: ...

    found: list[tuple[str, int]] = []

    def note(*, follows: str, dead_letter: int, **facts: object) -> None:
        found.append((follows, dead_letter))

    (letter,) = project(a_letter(group_name="ward", handler="treat"))
    retrier, mine = LetterRetrier(ward), Leased(letter, datetime.now(UTC))
    retrier._running.add(mine)
    signals.event_failed.connect(note)
    try:
        retrier._note(Result(mine, [failed(error, letter_record(letter))]))
    finally:
        signals.event_failed.disconnect(note)
    assert found == [(follows, letter.pk)]


def is_taken_again(calls: list[int | None]) -> bool:
    end_leases()  # again and again, because leases are renewed
    return len(calls) >= 3


@pytest.mark.django_db
@pytest.mark.parametrize(("error", "automatic"), [(ValueError(), True), (DoNotRetry(), False), (KeyError(), False)])
def test_a_letter_that_fails_for_good_is_not_tried_by_itself_again(
    declarations: None, error: BaseException, automatic: bool
) -> None:
    ward = ConsumerGroup("ward")

    @ward.exactly_once(entry_made, never_retry=KeyError)
    def treat(event: Event[EntryMade]) -> None: ...

    (letter,) = project(a_letter())
    failure = failed(error, letter_record(letter))
    assert tried(failure, ward.handlers[0], letter, datetime.now(UTC), "here").automatic == automatic


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_letter_whose_lease_ends_while_its_handler_runs_does_not_end_the_consumer(
    declarations: None, broker: Broker, consuming: Consuming
) -> None:
    """As after a long outage of the database: the same process may then take the letter a second time."""
    ward, may_end = ConsumerGroup("ward"), threading.Event()
    calls: list[int | None] = []

    @ward.idempotent(entry_made, on_failure=OnFailure.SAVE)
    def treat(event: Event[EntryMade]) -> None:
        calls.append(event.attempt)
        if event.attempt == 1:
            raise DoNotRetry("not now")
        may_end.wait(60)

    topics.create_missing([TOPIC], timeout=60)
    broker.put(TOPIC, b'{"account":"ann","number":1}', partition=0)
    with consuming(ward) as service:
        repair.retry([the_letter().pk])
        wait_for(lambda: len(calls) == 2)
        wait_for(lambda: is_taken_again(calls))
        may_end.set()
        wait_for(lambda: DeadLetter.objects.get().state == State.RESOLVED)
        wait_for(lambda: DeadLetter.objects.get().tries.count() == len(calls))
        assert not service.wait(0)


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_try_that_runs_when_the_consumer_is_stopped_is_finished(
    declarations: None, broker: Broker, consuming: Consuming
) -> None:
    ward, running, may_end = ConsumerGroup("ward"), threading.Event(), threading.Event()

    @ward.exactly_once(entry_made)
    def treat(event: Event[EntryMade]) -> None:
        running.set()
        may_end.wait(60)

    (letter,) = project(a_letter(group_name="ward", handler="treat"))
    repair.retry([letter.pk])
    with consuming(ward) as service, ThreadPoolExecutor(1) as elsewhere:
        assert running.wait(60)
        stopping = elsewhere.submit(service.stop, 120)
        (retrier,) = [each for each in service._threads if isinstance(each, LetterRetrier)]
        wait_for(retrier._stopping.is_set)
        may_end.set()
        assert stopping.result()
    assert DeadLetter.objects.get().state == State.RESOLVED
