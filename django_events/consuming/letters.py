"""What the row of a dead letter stands for: its record and its handler; and in which database such rows are.

Thread-safe. Asks the database only for columns that were left out when the row was read.
"""

from django.db import router

from django_events import handlers
from django_events.conf import settings
from django_events.consuming import bodies
from django_events.exceptions import DeclarationError
from django_events.handlers import Handler
from django_events.kafka.record import Partition, ReceivedRecord
from django_events.models import DeadLetter


def database_of_letters() -> str:
    """The alias of the database that has the dead letters: the one that the router names."""
    return router.db_for_write(DeadLetter)


def declared_handlers() -> frozenset[tuple[str, str]]:
    """Group and name of every handler that this site declares."""
    return frozenset((group.name, handler.name) for group in handlers.declared() for handler in group.handlers)


def payload_of(letter: DeadLetter) -> bytes | None:
    """The payload's bytes, edited or as they came; the whole body if the record cannot be read."""
    return bodies.payload_of(letter_record(letter))


def secrets_of(letter: DeadLetter) -> frozenset[str]:
    """The texts that REDACT hides in the letter, edited or as it came, to be looked for in its errors. Loads the
    payload if anything is hidden."""
    return bodies.secrets_of(original_record(letter), letter_record(letter)) if settings.REDACT else frozenset()


def letter_record(letter: DeadLetter) -> ReceivedRecord:
    """The record that is tried: the event as it came, with the edited body if there is one, at its first place."""
    value = letter.value if letter.edited_value is None else letter.edited_value
    return ReceivedRecord(
        partition=Partition(letter.topic, letter.partition),
        offset=letter.offset,
        key=None if letter.key is None else bytes(letter.key),
        value=None if value is None else bytes(value),
        headers=letter.header_list,
        timestamp=None,
    )


def original_record(letter: DeadLetter) -> ReceivedRecord:
    """The event as it came."""
    return letter_record(letter)._replace(value=None if letter.value is None else bytes(letter.value))


def handler_of(letter: DeadLetter) -> Handler:
    """The handler that the letter waits for. Raises DeclarationError if this site has none of that name and topic."""
    name = f"{letter.group_name}/{letter.handler}"
    found = next((each for group in handlers.declared() for each in group.handlers if str(each) == name), None)
    if found is None:
        raise DeclarationError(
            f"The handler {name} is not declared on this site, so the letter cannot be tried. It is kept. Declare the "
            "handler again (under this name=), or discard the letter."
        )
    if letter.topic not in [topic.name for topic in found.topics]:
        raise DeclarationError(
            f"The handler {name} does not handle topic {letter.topic} any more, so the letter cannot be tried. It is "
            "kept. Declare the handler for that topic again, or discard the letter."
        )
    return found
