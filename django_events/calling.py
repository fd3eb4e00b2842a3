"""What a handler says about how it is called: alone or in batches, how many at once, in which order and transaction."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django_events.exceptions import DeclarationError

LARGEST_BATCH = 1_000
"""Events: as many as a group has in hand of one partition, unless it says otherwise."""

LONGEST_WAIT = 60.0
"""Seconds that a batch may wait for more events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A handler gets lists of events instead of single ones. Immutable. Raises DeclarationError for what cannot be."""

    size: int = 30
    """How many events a list has at most, 1 to 1,000. Default: 30."""
    parallel: int = 3
    """How many lists are handled at once in one process. Default: 3, so that one is always being filled."""
    wait: float = 0.0
    """How many seconds events wait for a list to be filled, up to 60. Default: 0, a list has what is there: under load
    that fills lists, and without load nobody waits."""

    def __post_init__(self) -> None:
        check_whole("Batch", "size", self.size, 1, LARGEST_BATCH)
        check_whole("Batch", "parallel", self.parallel, 1, 1_000)
        if not _is_number(self.wait) or not 0 <= self.wait <= LONGEST_WAIT:
            raise DeclarationError(f"Batch: wait is {self.wait!r:.80}. Use a number of seconds from 0 to 60.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calling:
    """What one handler has declared. Immutable."""

    batch: Batch | None = None
    """Lists of events instead of single ones."""
    concurrency: int | None = None
    """How many workers it may have at once, over all its topics; None: all of its group."""
    ordered: bool = True
    """Whether the events of one key are handled one after the other."""
    shared_transaction: bool | None = None
    """Whether several events may share a transaction; None: yes, if it is exactly-once and has no batches."""
    using: str | None = None
    """The database of its transaction; None: the one that the router has for the marks."""

    @property
    def at_once(self) -> int | None:
        """How many workers may run it at once."""
        return self.batch.parallel if self.batch else self.concurrency


def calling(where: str, *, batch: Any, concurrency: Any, ordered: Any, shared_transaction: Any, using: Any) -> Calling:
    """What these options of a decorator mean; ``where`` names the handler in errors.

    Raises DeclarationError naming the option, its value and what it may be.
    """
    if batch is not None and not isinstance(batch, Batch):
        raise DeclarationError(f"{where}: batch is {batch!r:.80}. Use Batch(size=…).")
    if concurrency is not None:
        check_whole(where, "concurrency", concurrency, 1, 1_000)
    if not isinstance(ordered, bool):
        raise DeclarationError(f"{where}: ordered is {ordered!r:.80}. Use True or False.")
    if not isinstance(shared_transaction, bool | None):
        raise DeclarationError(f"{where}: shared_transaction is {shared_transaction!r:.80}. Use True or False.")
    if using is not None and (not isinstance(using, str) or not using):
        raise DeclarationError(f"{where}: using is {using!r:.80}. Use an alias of settings.DATABASES.")
    return Calling(
        batch=batch, concurrency=concurrency, ordered=ordered, shared_transaction=shared_transaction, using=using
    )


def contradictions(
    calling: Calling, *, has_transaction: bool, max_outstanding: int, max_outstanding_in_all: int
) -> Iterator[str]:
    """What this handler, and its group with it, say that cannot both be meant, each with what to do."""
    if calling.batch and calling.concurrency is not None:
        yield "it has batch= and concurrency=. Say how many batches run at once with Batch(parallel=…), and remove it"
    if calling.batch and calling.shared_transaction is not None:
        yield "it has batch= and shared_transaction=. A batch has a transaction of its own; remove one of them"
    if calling.shared_transaction is not None and not has_transaction:
        yield "it is idempotent and has shared_transaction=, but no transaction of ours. Remove it"
    if calling.using is not None and not has_transaction:
        yield "it is idempotent and has using=, but no transaction of ours. Remove it, or make it exactly_once"
    bounds = {
        "max_outstanding": (max_outstanding, "of one partition", "A process that has no other waits each time, though"),
        "max_outstanding_in_all": (max_outstanding_in_all, "of all partitions together", "So"),
    }
    for name, (bound, whose, so) in bounds.items():
        if calling.batch and calling.batch.wait and calling.batch.size > bound:
            yield (
                f"it waits {calling.batch.wait:g} s for lists of {calling.batch.size:,} events, but its group stops "
                f"fetching at {bound:,} events {whose} ({name}={bound}). {so} no list is ever full. Use a smaller "
                "Batch(size=…), or raise it"
            )


def check_whole(where: str, name: str, value: Any, least: int, most: int) -> int:
    """Return the value if it is a whole number in these bounds; raise DeclarationError saying so if not."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise DeclarationError(f"{where}: {name} is {value!r:.80}. Use a whole number from {least:,} to {most:,}.")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
