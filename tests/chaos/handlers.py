"""Handlers of three groups: they note each call, and leave a trace in the database."""

import time
import zlib

from django_events import Backoff, Batch, BatchItemError, ConsumerGroup, DoNotRetry, Event
from tests.chaos import witness
from tests.chaos.events import Followed, Moved, followed, late, moved
from tests.chaos.facts import Handling, Raised
from tests.chaos.history import note
from tests.chaos.models import Trace
from tests.chaos.writing import write

LATER = Backoff(first=1.0, max=2.0)
"""Seconds between two tries of a dead letter."""

books = ConsumerGroup("books")
watch = ConsumerGroup("watch")
shaky = ConsumerGroup("shaky")


@books.exactly_once(moved)
def book(event: Event[Moved]) -> None:
    """Sends a further event in its transaction."""
    _note_call(event)
    _leave_trace(event)
    write(followed, Followed(event.id), event.key, witness.transaction_of(event))


@books.exactly_once(followed)
def settle(event: Event[Followed]) -> None:
    _note_call(event)
    _leave_trace(event)


@books.exactly_once(late)
def enter(event: Event[Moved]) -> None:
    """Has subscribed to a topic that Kafka may not have yet."""
    _note_call(event)
    _leave_trace(event)


@watch.idempotent(moved, followed)
def look(event: Event[Moved | Followed]) -> None:
    _note_call(event)
    _leave_trace(event)


@shaky.exactly_once(moved, retry=2, retry_later=LATER)
def stumble(event: Event[Moved]) -> None:
    """Fails now and then, after it has taken effect: once, or until it is a dead letter, or always."""
    _note_call(event)
    _leave_trace(event)
    match _luck(event, 200), event.attempt:
        case 0 | 1 | 2, 1:
            _fail(event, RuntimeError)
        case 3 | 4, 1 | 2 | 3:
            _fail(event, RuntimeError)
        case 5, _:
            _fail(event, DoNotRetry)


@shaky.idempotent(followed, retry=False, retry_later=LATER)
def trip(event: Event[Followed]) -> None:
    """Fails now and then, before it takes effect, and becomes a dead letter at once."""
    _note_call(event)
    if event.attempt == 1 and _luck(event, 100) == 0:
        _fail(event, RuntimeError)
    _leave_trace(event)


@shaky.exactly_once(moved, followed, batch=Batch(size=20, parallel=2), retry=2, retry_later=LATER)
def pile(events: list[Event[Moved | Followed]]) -> None:
    """Fails now and then: with an event that it names, or without a word of which it was."""
    for event in events:
        _note_call(event)
    Trace.objects.bulk_create([_trace(event) for event in events])
    for event in events:
        match _luck(event, 300), event.attempt:
            case 0, 1:
                _note_failure(event)
                raise BatchItemError(event, RuntimeError(f"no luck with {event.id}"))
            case (1, 1) | (2, 1 | 2 | 3):
                _fail(event, RuntimeError)


AnyEvent = Event[Moved] | Event[Followed] | Event[Moved | Followed]


def _luck(event: AnyEvent, one_of: int) -> int:
    """A number that an event keeps, however often it comes."""
    return zlib.crc32(event.id.encode()) % one_of


def _fail(event: AnyEvent, error: type[Exception]) -> None:
    _note_failure(event)
    raise error(f"no luck with {event.id}")


def _note_failure(event: AnyEvent) -> None:
    note(Raised(handler=witness.name_of(event), event=event.id, place=witness.place_of(event)))


def _note_call(event: AnyEvent) -> None:
    body = (event.data or b"").decode()
    call = Handling(
        handler=witness.name_of(event), event=event.id, place=witness.place_of(event), key=event.key, body=body
    )
    note(call)


def _leave_trace(event: AnyEvent) -> None:
    _trace(event).save()


def _trace(event: AnyEvent) -> Trace:
    return Trace(handler=witness.name_of(event), event_id=event.id, at=time.time())
