"""The headers by which a dead letter tells where its event comes from."""

from django_events import cloudevents
from django_events.kafka.record import Partition, ReceivedRecord

PREFIX = "dead-letter-"
"""What the names of all headers that we add to an event begin with; none of them repeats."""


def is_ours(name: str) -> bool:
    """Whether it is a header that a dead letter has beside those of its event."""
    return name.lower().startswith(PREFIX)


def event_of(letter: ReceivedRecord, source: str) -> ReceivedRecord:
    """The record that failed, at its own place in Kafka: in the topic ``source``, and without our headers."""
    said = {name.lower().removeprefix(PREFIX): value for name, value in letter.headers if is_ours(name)}
    partition = number(cloudevents.to_text(said.get("partition")), letter.partition.number, 2**31)
    return letter._replace(
        partition=Partition(source, partition),
        offset=number(cloudevents.to_text(said.get("offset")), letter.offset, 2**63),
        headers=[(name, value) for name, value in letter.headers if not is_ours(name)],
    )


def number(text: str | None, otherwise: int, below: int) -> int:
    """The number in a header; ``otherwise`` if there is none that can be: strangers may write anything."""
    is_number = text is not None and text.isascii() and text.isdigit() and len(text) < 20
    return int(text) if text is not None and is_number and int(text) < below else otherwise
