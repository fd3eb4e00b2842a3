"""Dead letters from Kafka once more: what the database has lost, or could not take, is brought in again."""

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import islice

from django.db import DataError, IntegrityError

from django_events import handlers
from django_events.consuming import dead_letter
from django_events.consuming.letter_projection import project
from django_events.consuming.letters import database_of_letters
from django_events.handlers import ConsumerGroup
from django_events.kafka import names
from django_events.kafka.record import ReceivedRecord
from django_events.kafka.whole_topics import WholeTopics
from django_events.models import DeadLetter, Letter

logger = logging.getLogger("django_events.dead_letters")

AT_ONCE = 500
"""Letters that are brought in by one transaction."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild has found so far."""

    read: int = 0
    total: int = 0
    """About how many there are to read."""
    missing: int = 0
    """Letters that the database did not have; brought in, unless it was a dry run."""


def rebuild(
    groups: Sequence[ConsumerGroup],
    topics: Collection[str] = (),
    *,
    retry: bool,
    dry_run: bool,
) -> Iterator[Rebuilt]:
    """Read all dead letters of these groups, of events of these topics or of all, and bring in those that are missing.

    A letter that was ever in the table, also a closed one, is passed over; where the table itself was lost, closed ones
    come back, too. So they wait for an operator, unless ``retry`` lets those of RETRY_LATER handlers be tried by
    themselves. Idempotent; beside running consumers. Yields how far it has come, at least once. Raises
    BrokerUnavailable.
    """
    with ExitStack() as stack:
        readers = [
            (group, stack.enter_context(closing(WholeTopics(names.dead_letter_group(group.name))))) for group in groups
        ]
        sources = [_sources(kafka, group, topics) for group, kafka in readers]
        total = sum(kafka.count(each) for (_, kafka), each in zip(readers, sources, strict=True))
        so_far = Rebuilt(total=total)
        for (group, kafka), each in zip(readers, sources, strict=True):
            for records in _chunks(kafka.read(each)):
                missing = _bring_in([*_letters(records, group, each, retry=retry)], dry_run=dry_run)
                so_far = replace(so_far, read=so_far.read + len(records), missing=so_far.missing + missing)
                yield so_far
        yield so_far


def _chunks(records: Iterator[ReceivedRecord]) -> Iterator[list[ReceivedRecord]]:
    while chunk := list(islice(records, AT_ONCE)):
        yield chunk


def _bring_in(letters: Sequence[Letter], *, dry_run: bool) -> int:
    """Bring in those that are missing, or only count them."""
    missing = DeadLetter.objects.unknown(letters, database_of_letters())
    if not missing or dry_run:
        return len(missing)
    try:
        return project(missing)
    except (DataError, IntegrityError):  # one that the database refuses, or that a consumer has just brought in
        return sum(map(_bring_in_alone, missing))


def _bring_in_alone(letter: Letter) -> int:
    try:
        return project([letter])
    except (DataError, IntegrityError) as error:
        if DeadLetter.objects.unknown([letter], database_of_letters()):
            place = f"{letter.letter_partition}@{letter.letter_offset}"
            logger.error("The dead letter %s of %s cannot be brought in: %s", place, letter.topic, str(error).strip())
        return 0


def _sources(kafka: WholeTopics, group: ConsumerGroup, topics: Collection[str]) -> dict[str, str]:
    """By dead-letter topic, the topic that its events come from."""
    ending = names.dead_letter_topic("", group.name)
    found = {
        each: each.removesuffix(ending)
        for each in kafka.dead_letter_topics(group.name)
        if not each.endswith(tuple(_endings_of_longer_names(group)))
    }
    return {each: source for each, source in found.items() if not topics or source in topics}


def _endings_of_longer_names(group: ConsumerGroup) -> Iterator[str]:
    """Of the topics of groups such as ``eu.billing``, which end like those of ``billing``."""
    for other in handlers.declared():
        if other.name.endswith(f".{group.name}"):
            yield names.dead_letter_topic("", other.name)


def _letters(
    records: Sequence[ReceivedRecord], group: ConsumerGroup, sources: dict[str, str], *, retry: bool
) -> Iterator[Letter]:
    for record in records:
        for letter in dead_letter.decode(record, group, sources[record.topic]):
            yield letter if retry else replace(letter, automatic=False)
