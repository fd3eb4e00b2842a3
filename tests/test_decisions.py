"""What an outcome means, for an event and for a dead letter: nothing here runs a handler."""

from datetime import UTC, datetime
from typing import Any

import pytest

from django_events import Backoff, DoNotRetry, IgnoreError, OnFailure, Topic
from django_events.consuming.letter_policy import tried
from django_events.consuming.outcome import (
    Duplicate,
    Handled,
    LetterRefused,
    LetterWritten,
    NotBegun,
    Outcome,
    Postponed,
    failed,
)
from django_events.consuming.policy import (
    FOR_EVER,
    POSTPONE,
    Again,
    Buried,
    Discarded,
    Done,
    Ignored,
    Tries,
    decide,
)
from django_events.failures import FailurePolicy
from django_events.handlers import Delivery, Handler
from django_events.kafka.record import Partition, ReceivedRecord
from django_events.models import ALREADY, DeadLetter, Tried

EVERY_TEN = Backoff(first=10, factor=1, jitter=0)


def failure(error: BaseException) -> Outcome:
    return failed(error, ReceivedRecord(Partition("decisions", 0), 0, None, b"{}", [], None))


def decided(outcome: Outcome, *, attempts: int = 0, delays: int = 0, seconds: float = 0.0, **policy: Any) -> Any:
    tries = Tries(attempts=attempts, delays=delays, seconds=seconds)
    return decide(outcome, FailurePolicy(backoff=EVERY_TEN, **policy), tries)


ILL, HOPELESS = failure(ValueError("ill")), failure(DoNotRetry("hopeless"))


@pytest.mark.parametrize("outcome", [Handled(), Duplicate(), LetterWritten()])
def test_what_is_done_is_done(outcome: Outcome) -> None:
    assert decided(outcome) == Done()


def test_what_was_not_begun_is_tried_at_once_and_what_could_not_take_place_later_and_later_and_neither_counts() -> None:
    assert decided(NotBegun()) == Again(0.0, counts=False)
    for outcome in (Postponed(ValueError()), LetterRefused("no")):
        first, last = decided(outcome), decided(outcome, delays=20)
        assert (first.counts, last.counts) == (False, False)
        assert 0.19 <= first.delay <= 0.21
        assert 9.5 <= last.delay <= 10.5


def test_a_number_of_tries_includes_the_first() -> None:
    policy = FailurePolicy(backoff=EVERY_TEN, attempts=3, timeout=None)
    assert decide(ILL, policy, Tries(attempts=1, delays=0, seconds=1e6)) == Again(10, counts=True)
    assert isinstance(decide(ILL, policy, Tries(attempts=2, delays=0, seconds=0)), Buried)


def test_a_try_that_would_come_after_the_timeout_is_not_made() -> None:
    assert decided(ILL, seconds=290, timeout=300) == Again(10, counts=True)
    assert isinstance(decided(ILL, seconds=291, timeout=300), Buried)


@pytest.mark.parametrize(
    ("on_failure", "kind"),
    [(OnFailure.DISCARD, Discarded), (OnFailure.RETRY_LATER, Buried), (OnFailure.SAVE, Buried)],
)
def test_what_must_not_be_tried_again_is_given_up_or_a_letter_at_once(on_failure: OnFailure, kind: type) -> None:
    assert isinstance(decided(ILL, on_failure=on_failure), Again)
    assert isinstance(decided(HOPELESS, on_failure=on_failure), kind)
    assert isinstance(decided(ILL, on_failure=on_failure, never_retry=(ValueError,)), kind)


def test_who_blocks_is_tried_for_ever_but_not_in_vain() -> None:
    assert decided(ILL, attempts=1_000, seconds=1e9, on_failure=OnFailure.BLOCK) == Again(10, counts=True)
    assert decided(HOPELESS, on_failure=OnFailure.BLOCK) == Again(FOR_EVER, counts=True)


@pytest.mark.parametrize("on_failure", OnFailure)
def test_what_is_to_be_ignored_is_ignored_whatever_the_policy(on_failure: OnFailure) -> None:
    assert decided(failure(IgnoreError()), on_failure=on_failure, never_retry=(Exception,)) == Ignored()


# ── dead letters ─────────────────────────────────────────────────────────────────────────────────────────────────────


def tried_letter(outcome: Outcome, *, retries: int = 0, **options: Any) -> Tried:
    topic: Any = Topic("decisions", dict[str, Any])
    policy = FailurePolicy(**options)
    handler = Handler(
        name="h", group="decisions", function=print, topics=(topic,), delivery=Delivery.IDEMPOTENT, policy=policy
    )
    letter = DeadLetter(topic="decisions", group_name="decisions", handler="h", retries=retries)
    return tried(outcome, handler, letter, datetime.now(UTC), "here")


@pytest.mark.usefixtures("declarations")
@pytest.mark.parametrize(
    ("outcome", "reason"),
    [(Handled(), ""), (Duplicate(), ALREADY), (failure(IgnoreError("not ours")), "passed over: not ours")],
)
def test_a_letter_is_resolved(outcome: Outcome, reason: str) -> None:
    result = tried_letter(outcome)
    assert (result.resolved, result.counts, result.reason) == (True, True, reason)


@pytest.mark.usefixtures("declarations")
@pytest.mark.parametrize("outcome", [Postponed(ValueError("away")), NotBegun()])
def test_a_try_of_a_letter_that_could_not_take_place_does_not_count_and_comes_soon(outcome: Outcome) -> None:
    result = tried_letter(outcome)
    assert (result.resolved, result.counts, result.delay) == (False, False, POSTPONE.max)


@pytest.mark.usefixtures("declarations")
@pytest.mark.parametrize(
    ("outcome", "on_failure", "automatic"),
    [
        (ILL, OnFailure.RETRY_LATER, True),
        (HOPELESS, OnFailure.RETRY_LATER, False),
        (ILL, OnFailure.SAVE, False),
    ],
)
def test_a_letter_that_fails_again_is_tried_by_itself_only_where_that_may_help(
    outcome: Outcome, on_failure: OnFailure, automatic: bool
) -> None:
    result = tried_letter(outcome, on_failure=on_failure)
    assert (result.resolved, result.counts, result.automatic) == (False, True, automatic)
    assert result.exception


@pytest.mark.usefixtures("declarations")
def test_the_waits_of_a_letter_go_on_from_the_first_one_that_a_new_letter_has() -> None:
    later = Backoff(first=30, factor=2, max=1800, jitter=0)
    assert tried_letter(ILL, retries=0, later=later).delay == 60
