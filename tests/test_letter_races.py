"""Reader, retrier and operator at the same letters at the same moment: nothing is lost, doubled or left waiting."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection, transaction

from django_events.consuming import repair
from django_events.models import IS_OPEN, DeadLetter, Failure
from tests.letters import a_letter, project
from tests.test_letter_rows import conclude, due, lease, make_due, resolve
from tests.waiting import wait_for

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

Elsewhere = Callable[[Callable[[], Any]], "Future[Any]"]


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    """Begins something in another thread and connection, where waiting for a lock for long is an error."""
    with ThreadPoolExecutor(1) as threads:
        yield lambda act: threads.submit(_alone, act)


def _alone(act: Callable[[], Any]) -> Any:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '60s'")
        return act()
    finally:
        connection.close()


def wait_until_it_waits(other: "Future[Any]") -> None:
    """Until the other has done it, or waits for a lock of ours."""
    wait_for(lambda: other.done() or _somebody_waits())


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # inside of a transaction it is read once
        cursor.execute(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' LIMIT 1"
        )
        return bool(cursor.rowcount)


def leased() -> DeadLetter:
    make_due()
    (mine,) = lease()
    return mine


def fail(letter: DeadLetter) -> bool:
    found = a_letter()
    return conclude(letter, exception="ValueError", message="no", automatic=True, fingerprint=found.fingerprint)


def test_a_letter_that_comes_while_the_one_before_it_is_closed_is_due_afterwards(elsewhere: Elsewhere) -> None:
    project(a_letter("1"))
    mine = leased()
    with transaction.atomic():
        project(a_letter("2"))
        closing = elsewhere(lambda: resolve(mine))
        wait_until_it_waits(closing)
    assert closing.result()
    assert due() == ["2"]


def test_a_letter_that_fails_while_the_one_before_it_is_closed_is_due_afterwards(elsewhere: Elsewhere) -> None:
    first, second = project(a_letter("1"), a_letter("2"))
    repair.retry([second.pk])
    mine = leased_of(second)
    with transaction.atomic():
        repair.discard([first.pk], "no", "ann")
        failing = elsewhere(lambda: fail(mine))
        wait_until_it_waits(failing)
    assert failing.result()
    assert due() == ["2"]


def leased_of(letter: DeadLetter) -> DeadLetter:
    return next(found for found in lease() if found.pk == letter.pk)


@pytest.mark.parametrize("first", ["the reader", "the retrier"])
def test_a_letter_that_is_merged_while_another_try_fails_counts_both(elsewhere: Elsewhere, first: str) -> None:
    project(a_letter("1"))
    mine = leased()
    acts: list[Callable[[], Any]] = [
        lambda: project(a_letter("1", last_failed=datetime.now(UTC))),
        lambda: fail(mine),
    ]
    ours, theirs = acts if first == "the reader" else reversed(acts)
    with transaction.atomic():
        ours()
        other = elsewhere(theirs)
        wait_until_it_waits(other)
    other.result()
    assert DeadLetter.objects.get().attempts == 3 + 3 + 1


def test_two_processes_never_lease_one_letter(elsewhere: Elsewhere) -> None:
    project(a_letter("1"))
    make_due()
    with transaction.atomic():
        assert lease()
        assert not elsewhere(lease).result(30)


def test_an_operator_waits_for_nobody(elsewhere: Elsewhere) -> None:
    (row,) = project(a_letter("1"))
    with transaction.atomic():
        DeadLetter.objects.select_for_update().get()
        for act in (lambda: repair.retry([row.pk]), lambda: repair.discard([row.pk], "no", "ann")):
            assert elsewhere(act).result(30).running == 1


def test_discarding_waits_for_no_try_that_ends_meanwhile(elsewhere: Elsewhere) -> None:
    """Who writes down what a try came to locks the letter, then the next of its key: each would wait for the other."""
    project(a_letter("1"), a_letter("2"))
    mine, following = leased(), DeadLetter.objects.get(event_id="2")
    with transaction.atomic():
        DeadLetter.objects.select_for_update().get(pk=mine.pk)
        assert elsewhere(lambda: repair.discard([following.pk], "no", "ann")).result(30).done == 1
        resolve(mine)
    assert not DeadLetter.objects.filter(IS_OPEN).exists()


def test_nobody_waits_for_the_numbers_of_a_failure_before_the_end(elsewhere: Elsewhere) -> None:
    project(a_letter("1"))
    mine, kind = leased(), a_letter().kind
    with transaction.atomic():
        resolve(mine)
        assert elsewhere(lambda: Failure.objects.of([kind], "default")).result(30)


def test_a_failure_that_two_meet_first_makes_none_wait_for_the_other_for_ever(elsewhere: Elsewhere) -> None:
    (row,) = project(a_letter("1"))
    mine, new = leased(), a_letter("1", exception="KeyError", last_failed=datetime.now(UTC))
    told = {"exception": "KeyError", "message": new.message, "fingerprint": new.fingerprint, "automatic": True}
    with transaction.atomic():
        Failure.objects.of([new.kind], "default")
        failing = elsewhere(lambda: conclude(mine, **told))
        wait_until_it_waits(failing)
        DeadLetter.objects.select_for_update().get(pk=row.pk)
    assert failing.result()
