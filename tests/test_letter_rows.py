"""The rows of dead letters: known for ever, merged, one of a key at a time, and never changed by two at once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F

from django_events.consuming import dead_letter, repair
from django_events.consuming.letters import letter_record
from django_events.kafka.record import Headers, Partition, ReceivedRecord
from django_events.models import DeadLetter, DeadLetterAttempt, Failure, ProcessedEvent, State, Tried
from tests.ledger.handlers import clinic
from tests.letters import a_letter, project

pytestmark = pytest.mark.django_db

TOPICS = {"cure": ["ledger.entry-made"]}


def make_due() -> None:
    """Let the time pass that waiting letters wait for, and leases last."""
    DeadLetter.objects.filter(due_at__isnull=False).update(due_at=F("due_at") - timedelta(hours=2))


def lease(count: int = 10) -> list[DeadLetter]:
    return DeadLetter.objects.lease(clinic.name, TOPICS, count, 30.0, "default")


def tried(**given: Any) -> Tried:
    now = datetime.now(UTC)
    return Tried(**{"resolved": False, "counts": True, "began": now, "ended": now, "host": "here", **given})


def conclude(letter: DeadLetter, **given: Any) -> bool:
    return DeadLetter.objects.conclude(letter, tried(**given), "default")


def resolve(letter: DeadLetter) -> bool:
    return conclude(letter, resolved=True)


def due() -> list[str]:
    return [row.event_id for row in DeadLetter.objects.order_by("pk") if row.due_at]


# ── the reader ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_letter_is_brought_in_once() -> None:
    letter = a_letter("1")
    assert DeadLetter.objects.project([letter], "default") == 1
    assert DeadLetter.objects.project([letter, letter], "default") == 0
    (row,) = project(letter)
    assert (row.state, row.attempts, row.automatic) == (State.WAITING, 3, True)
    assert bytes(row.value or b"") == letter.value
    assert row.header_list == letter.headers
    assert Failure.objects.get().letters_open == 1


@pytest.mark.parametrize("close", [resolve, lambda letter: repair.discard([letter.pk], "nobody needs it", "ann")])
def test_a_closed_letter_never_comes_back(close: Any) -> None:
    letter = a_letter("1")
    project(letter)
    make_due()
    if close is resolve:
        resolve(lease()[0])
    else:
        close(DeadLetter.objects.get())
    DeadLetter.objects.update(value=None)  # what is closed may lose its payload
    DeadLetterAttempt.objects.update(traceback="")
    (row,) = project(letter)
    assert not row.is_open
    assert Failure.objects.get().letters_open == 0


def test_a_second_letter_of_an_event_is_merged_into_the_open_one() -> None:
    later = datetime(2026, 2, 2, tzinfo=UTC)
    (row,) = project(a_letter("1"), a_letter("1", last_failed=later, message="worse", attempts=2))
    (row,) = project(a_letter("1", last_failed=later - timedelta(1)))
    assert (row.attempts, row.last_failed, row.message) == (8, later, "worse")
    assert row.tries.count() == 3
    assert sum(failure.letters_open for failure in Failure.objects.all()) == 1


def test_a_merged_letter_counts_as_what_it_failed_with_last() -> None:
    later = datetime(2026, 2, 2, tzinfo=UTC)
    project(a_letter("1"))
    (row,) = project(a_letter("1", last_failed=later, exception="KeyError", message="worse"))
    assert row.failure.exception == row.exception == "KeyError"
    (row,) = project(a_letter("1", exception="OSError", message="long ago"))
    assert row.failure.exception == row.exception == "KeyError"
    numbers = {row.exception: (row.letters_open, row.message[:4]) for row in Failure.objects.all()}
    assert numbers == {"ValueError": (0, "entr"), "KeyError": (1, "wors"), "OSError": (0, "long")}


def test_a_letter_that_tells_of_a_failure_before_the_closing_changes_nothing() -> None:
    """A crash between letter and offset makes the event fail again, and the first letter may be repaired by then."""
    project(a_letter("1"))
    make_due()
    resolve(lease()[0])
    (row,) = project(a_letter("1"))
    assert row.state == State.RESOLVED
    assert row.tries.count() == 3


def test_an_event_that_fails_after_its_letter_was_closed_has_a_new_one() -> None:
    project(a_letter("1"))
    make_due()
    resolve(lease()[0])
    rows = project(a_letter("1", last_failed=datetime.now(UTC) + timedelta(minutes=1)))
    assert [row.state for row in rows] == [State.RESOLVED, State.WAITING]


def test_a_letter_whose_event_is_processed_already_is_resolved_at_once() -> None:
    letter = a_letter("1")
    ProcessedEvent.objects.create(key=letter.event_key, topic="", source="", event_id="", group_name="", handler="")
    (row,) = project(letter)
    assert (row.state, row.due_at) == (State.RESOLVED, None)
    assert "committed already" in row.reason
    assert Failure.objects.get().letters_open == 0


def test_the_same_event_at_two_handlers_makes_two_letters() -> None:
    assert len(project(a_letter("1"), a_letter("1", handler="watch"))) == 2


@pytest.mark.parametrize("when", [b"0001-01-01T00:00:00+14:00", b"9999-12-31T23:59:59-14:00"])
def test_a_letter_of_a_stranger_can_be_kept_and_tried_whatever_it_says(when: bytes) -> None:
    about = {"handler": b"cure", "attempts": b"2147483647", "first-failed": when, "last-failed": when}
    headers: Headers = [(f"dead-letter-{name}", value) for name, value in about.items()]
    record = ReceivedRecord(Partition("letters", 0), 0, b"k", b"{}", headers, timestamp=-62_135_596_800_000)
    project(*dead_letter.decode(record, clinic, "ledger.entry-made"))
    make_due()
    (mine,) = lease()
    assert conclude(mine, exception="E", message="no", automatic=True, fingerprint=a_letter().fingerprint)
    assert 2020 < DeadLetter.objects.get().first_failed.year < 2100


def test_what_is_to_be_hidden_is_not_kept_in_the_error_of_a_strangers_letter(settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "REDACT": ["card", "token"]}
    about = {"handler": b"cure", "message": b"no 4111-1111", "traceback": b"E: no 4111-1111 with s3cr3t"}
    headers: Headers = [*((f"dead-letter-{name}", value) for name, value in about.items()), ("token", b"s3cr3t")]
    record = ReceivedRecord(Partition("letters", 0), 0, b"k", b'{"card":"4111-1111"}', headers, timestamp=None)
    (row,) = project(*dead_letter.decode(record, clinic, "ledger.entry-made"))
    assert row.message == Failure.objects.get().message == "no [redacted]"
    assert row.tries.get().traceback == "E: no [redacted] with [redacted]"
    assert bytes(row.value or b"") == record.value


# ── one of a key at a time ───────────────────────────────────────────────────────────────────────────────────────────


def test_only_the_oldest_letter_of_a_key_is_due() -> None:
    project(a_letter("1"), a_letter("2"), a_letter("3", key="bob"))
    project(a_letter("4"), a_letter("5", key=None), a_letter("6", key=None))
    assert due() == ["1", "3", "5", "6"]


def test_the_next_of_a_key_is_due_when_the_one_before_it_is_closed() -> None:
    project(a_letter("1"), a_letter("2"), a_letter("3"))
    make_due()
    resolve(lease()[0])
    assert due() == ["2"]
    repair.discard([DeadLetter.objects.get(event_id="2").pk], "no", "ann")
    assert due() == ["3"]


def test_a_letter_that_fails_keeps_the_next_ones_waiting() -> None:
    project(a_letter("1"), a_letter("2"))
    make_due()
    conclude(lease()[0], exception="KeyError", message="again", automatic=True, delay=60.0)
    row = DeadLetter.objects.get(event_id="1")
    assert due() == ["1"]
    assert (row.state, row.attempts, row.retries, row.exception) == (State.WAITING, 4, 1, "KeyError")
    assert row.tries.count() == 2
    assert not lease()


def test_a_letter_that_only_a_person_can_help_holds_up_none() -> None:
    project(a_letter("0", automatic=False), a_letter("1"), a_letter("2"))
    assert due() == ["1"]
    make_due()
    conclude(lease()[0], exception="E", message="not by itself", automatic=False)
    assert due() == ["2"]


def test_a_letter_that_could_not_be_tried_waits_as_if_nobody_had_taken_it() -> None:
    project(a_letter("1"))
    make_due()
    conclude(lease()[0], counts=False, delay=10.0)
    row = DeadLetter.objects.get()
    assert (row.state, row.attempts, row.retries, row.automatic) == (State.WAITING, 3, 0, True)
    assert row.due_at is not None
    assert row.tries.count() == 1


# ── leases ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_leased_letter_is_nobody_elses_until_the_lease_ends() -> None:
    project(a_letter("1"))
    assert not lease()
    make_due()
    (mine,) = lease()
    assert not lease()
    make_due()
    (theirs,) = lease()
    assert theirs.lease != mine.lease
    assert not resolve(mine)
    assert DeadLetter.objects.get().state == State.RUNNING
    assert resolve(theirs)
    assert DeadLetter.objects.get().state == State.RESOLVED


def test_a_renewed_lease_does_not_end() -> None:
    project(a_letter("1"))
    make_due()
    (mine,) = lease()
    make_due()
    assert mine.lease
    DeadLetter.objects.renew([mine.lease], 30.0, "default")
    assert not lease()


def test_letters_that_nobody_here_can_run_stand_in_front_of_nobody() -> None:
    project(*[a_letter(handler="gone", key=None) for _ in range(120)], a_letter("good", key=None))
    make_due()
    assert [letter.event_id for letter in lease()] == ["good"]
    assert DeadLetter.objects.filter(handler="gone", state=State.WAITING, due_at__isnull=False).count() == 120


def test_a_letter_that_was_running_when_its_handler_was_removed_can_be_discarded() -> None:
    """Its process was killed, and no process can run it any more."""
    project(a_letter("1"))
    make_due()
    (mine,) = lease()
    make_due()
    assert not DeadLetter.objects.lease(clinic.name, {}, 10, 30.0, "default")
    assert repair.discard([mine.pk], "its handler is gone", "ann").done == 1
    assert not resolve(mine)


# ── operators ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_operators_retry_runs_the_letter_even_behind_an_older_one() -> None:
    project(a_letter("1"), a_letter("2"))
    answer = repair.retry([DeadLetter.objects.get(event_id="2").pk])
    assert answer.done == 1
    assert [letter.event_id for letter in lease()] == ["2"]


def test_two_operators_retry_one_letter_and_it_runs_once() -> None:
    (row,) = project(a_letter("1"))
    assert [repair.retry([row.pk]).done for _ in range(2)] == [1, 1]
    (mine,) = lease()
    assert repair.retry([row.pk]).running == 1
    assert not lease()
    resolve(mine)
    assert repair.retry([row.pk]).closed == 1
    assert not lease()


def test_letters_of_a_handler_that_is_gone_are_kept_and_said() -> None:
    rows = project(a_letter(handler="gone"), a_letter())
    answer = repair.retry([row.pk for row in rows])
    assert (answer.done, answer.undeclared) == (1, ("clinic/gone",))
    assert DeadLetter.objects.filter(state=State.WAITING).count() == 2


def test_a_running_letter_can_be_neither_discarded_nor_edited() -> None:
    project(a_letter("1"))
    make_due()
    (mine,) = lease()
    assert repair.discard([mine.pk], "no", "ann").running == 1
    assert repair.edit(mine, '{"account":"bob","number":1}').running == 1
    assert DeadLetter.objects.get().edited_value is None


@pytest.mark.parametrize("act", [
    lambda row: repair.retry([row.pk]),
    lambda row: repair.discard([row.pk], "no", "ann"),
    lambda row: repair.edit(row, '{"account":"bob","number":7}'),
])  # fmt: skip
def test_a_letter_whose_process_was_killed_can_be_acted_on_when_its_lease_has_ended(act: Any) -> None:
    project(a_letter("1"))
    make_due()
    (lost,) = lease()
    make_due()
    assert act(lost).done == 1
    assert DeadLetter.objects.get().state != State.RUNNING
    assert not resolve(lost)


def test_what_an_operator_asks_for_is_tried_first() -> None:
    project(*[a_letter(key=None) for _ in range(3)], a_letter("wanted", key=None))
    make_due()
    repair.retry([DeadLetter.objects.get(event_id="wanted").pk])
    assert DeadLetter.objects.order_by("due_at").values_list("event_id", flat=True)[0] == "wanted"


def test_an_edited_letter_is_due_at_once_and_keeps_the_original() -> None:
    (row,) = project(a_letter("1", automatic=False))
    original = bytes(row.value or b"")
    assert repair.edit(row, '{"account":"bob","number":7}').done == 1
    (leased,) = lease()
    assert letter_record(leased).value == b'{"account":"bob","number":7}'
    assert bytes(leased.value or b"") == original


def test_the_numbers_of_a_failure_follow_its_letters() -> None:
    project(*[a_letter(key=None) for _ in range(3)])
    make_due()
    one, two, _ = lease()
    resolve(one)
    other = a_letter(exception="KeyError", message="other")
    conclude(two, exception="KeyError", message="other", fingerprint=other.fingerprint, automatic=True)
    numbers = {row.exception: (row.letters_ever, row.letters_open) for row in Failure.objects.all()}
    assert numbers == {"ValueError": (3, 1), "KeyError": (1, 1)}


def test_many_of_one_key_are_discarded_and_the_next_is_due() -> None:
    rows = project(*[a_letter(str(number)) for number in range(5)])
    repair.discard([row.pk for row in rows[:2] + rows[3:4]], "no", "ann")
    assert due() == ["2"]
    repair.discard([rows[4].pk], "no", "ann")
    assert due() == ["2"]


@pytest.mark.postgres
def test_looking_for_due_letters_uses_the_index_whatever_waits() -> None:
    project(*[a_letter() for _ in range(300)])
    make_due()
    lease(1)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(
            "EXPLAIN SELECT id FROM django_events_deadletter WHERE group_name = 'clinic' AND due_at <= now() "
            "ORDER BY due_at LIMIT 100"
        )
        assert "django_events_letter_due" in str(cursor.fetchall())
