"""The headers by which a dead letter tells where its event comes from."""

from django_events import cloudevents
from django_events.kafka.record import Partition, ReceivedRecord

PREFIX = "dead-letter-"
"""What the names of all headers that we add to an event begin with; none of them repeats."""


def is_ours(name: str) -> bool:
    """Whether it is a header that a dead letter has beside those of its event."""
    return name.lower().startswith(PREFIX)


def event_of(letter: ReceivedRecord, source: str) -> ReceivedRecord:
    """The record that failed, at its own place in Kafka: in the topic ``source``, and without our headers.

    Letters of others do not say where that was. Their own place stands for it, in a partition below 0, which no topic
    has: an event without an id must not be taken for the one that is at the letter's offset in ``source``.
    """
    ours = [(name.lower(), value) for name, value in letter.headers if is_ours(name)]
    said = {name.removeprefix(PREFIX): cloudevents.to_text(value) for name, value in ours}
    partition, offset = number(said.get("partition"), -1, 2**31), number(said.get("offset"), -1, 2**63)
    if min(partition, offset) < 0:
        partition, offset = -1 - letter.partition.number, letter.offset
    return letter._replace(
        partition=Partition(source, partition),
        offset=offset,
        headers=[(name, value) for name, value in letter.headers if not is_ours(name)],
    )


def number(text: str | None, otherwise: int, below: int) -> int:
    """The number in a header; ``otherwise`` if there is none that can be: strangers may write anything."""
    is_number = text is not None and text.isascii() and text.isdigit() and len(text) < 20
    return int(text) if text is not None and is_number and int(text) < below else otherwise
