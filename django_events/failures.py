"""What a handler says about its failures: how often it is tried again, and what follows when that is used up."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from django_events.exceptions import DeclarationError, DecodeError, DoNotRetry
from django_events.retry import Backoff

RETRIED_FOR = 300.0
"""Seconds for which a handler that fails is tried again, unless it says otherwise."""


LATER = Backoff(first=30.0, max=1800.0)
"""Seconds between two tries of a dead letter, unless its handler says otherwise."""


class OnFailure(Enum):
    """What follows when a handler has failed and is not to be tried again at once."""

    DISCARD = "discard"
    """The event is given up for this handler: logged, counted, gone."""
    BLOCK = "block"
    """The handler is tried for ever. The events of the same key wait; others go on up to the partition's limit."""
    RETRY_LATER = "retry later"
    """The event becomes a dead letter that is tried again by itself, 30 seconds to 30 minutes apart."""
    SAVE = "save"
    """The event becomes a dead letter that waits for an operator."""

    @property
    def writes_dead_letters(self) -> bool:
        """Whether the event is kept as a dead letter."""
        return self in (OnFailure.RETRY_LATER, OnFailure.SAVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailurePolicy:
    """What one handler has declared. Immutable."""

    on_failure: OnFailure = OnFailure.RETRY_LATER
    """What follows when the tries are used up."""
    backoff: Backoff = field(default_factory=Backoff)
    """How far the tries are apart."""
    attempts: int | None = None
    """How many tries there are at most, the first included; None: as many as fit into ``timeout``."""
    timeout: float | None = RETRIED_FOR
    """For how many seconds after the first failure it is tried again; None: until ``attempts`` are used up."""
    never_retry: tuple[type[BaseException], ...] = ()
    """Exceptions that trying again would not help."""
    later: Backoff = LATER
    """How far the tries of a dead letter are apart, with RETRY_LATER."""

    def is_hopeless(self, error: BaseException) -> bool:
        """Whether trying again would not help: the handler says so, or the record cannot be read."""
        return isinstance(error, self._hopeless)

    def tries_later(self, exception: str) -> bool:
        """Whether a dead letter of an exception of this name is tried again by itself."""
        if self.on_failure is not OnFailure.RETRY_LATER:
            return False
        return not any(exception == name_of(kind) for root in self._hopeless for kind in _with_subclasses(root))

    @property
    def _hopeless(self) -> tuple[type[BaseException], ...]:
        return (DoNotRetry, DecodeError, *self.never_retry)


def name_of(kind: type[BaseException]) -> str:
    """How an exception is called in dead letters: with its module unless it is Python's own; 200 characters at most."""
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"[-200:]


def _with_subclasses(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _with_subclasses(each)


def failure_policy(
    where: str,
    *,
    on_failure: Any,
    retry: Any,
    timeout: Any,
    never_retry: Any,
    later: Any = None,
) -> FailurePolicy:
    """The policy that these options of a decorator mean; ``where`` names the handler in errors.

    Raises DeclarationError naming the option, its value and what it may be.
    """
    if not isinstance(on_failure, OnFailure):
        raise DeclarationError(
            f"{where}: on_failure is {on_failure!r:.80}. Use OnFailure.DISCARD, BLOCK, RETRY_LATER or SAVE."
        )
    if later is not None and (not isinstance(later, Backoff) or on_failure is not OnFailure.RETRY_LATER):
        raise DeclarationError(
            f"{where}: retry_later is {later!r:.80}. Use a Backoff(…), with OnFailure.RETRY_LATER only."
        )
    policy = FailurePolicy(
        on_failure=on_failure,
        backoff=retry if isinstance(retry, Backoff) else Backoff(),
        attempts=_attempts(where, retry),
        timeout=_timeout(where, retry, timeout),
        never_retry=_exceptions(where, never_retry),
        later=later or LATER,
    )
    if on_failure is OnFailure.BLOCK and (policy.attempts is not None or timeout is not None):
        raise DeclarationError(
            f"{where}: with OnFailure.BLOCK (the default for dead_letters_of=, and without tables) a handler is tried "
            "for ever, so retry= may only be a Backoff and timeout= must be left out. Remove them, or choose another "
            "OnFailure."
        )
    return policy


def _attempts(where: str, retry: Any) -> int | None:
    if retry is False:
        return 1
    if retry is True or isinstance(retry, Backoff):
        return None
    if not isinstance(retry, int) or retry < 1:
        raise DeclarationError(
            f"{where}: retry is {retry!r:.80}. Use a Backoff(…), a number of tries from 1, or False for a single try."
        )
    return retry


def _timeout(where: str, retry: Any, timeout: Any) -> float | None:
    if timeout is None:
        return RETRIED_FOR if isinstance(retry, (bool, Backoff)) else None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= 86_400:
        raise DeclarationError(
            f"{where}: timeout is {timeout!r:.80}. Use a number of seconds above 0 and up to 86,400, for which a "
            "handler that fails is tried again."
        )
    return float(timeout)


def _exceptions(where: str, given: Any) -> tuple[type[BaseException], ...]:
    kinds = given if isinstance(given, tuple) else (given,)
    wrong = [kind for kind in kinds if not (isinstance(kind, type) and issubclass(kind, BaseException))]
    if wrong:
        raise DeclarationError(
            f"{where}: never_retry has {wrong[0]!r:.80}. Use a tuple of exception types, such as "
            "(ValueError, KeyError)."
        )
    return kinds
