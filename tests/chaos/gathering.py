"""At the end of a run: what Kafka and the database know goes into the history."""

from collections.abc import Iterable, Mapping

import psycopg

from tests.broker import Broker, Seen
from tests.chaos.facts import Buried, Delivered, Effect, Kept, Saved
from tests.chaos.history import History

SEQUENCE = "ce_sequence"
ABOUT = "dead-letter-"


def gather(history: History, broker: Broker, database_url: str, groups: Mapping[str, Iterable[str]]) -> None:
    """Append all records of the groups' topics, all committed changes, traces of handlers, and dead letters."""
    with psycopg.connect(database_url) as database:
        history.note(*[Saved(event=event) for (event,) in database.execute("SELECT event_id FROM chaos_change")])
        history.note(*[
            Effect(handler=handler, event=event, at=at)
            for handler, event, at in database.execute("SELECT handler, event_id, at FROM chaos_trace")
        ])  # fmt: skip
        history.note(*[
            Kept(handler=f"{group}/{handler}", event=event, state=state)
            for group, handler, event, state in database.execute(
                "SELECT group_name, handler, event_id, state FROM django_events_deadletter"
            )
        ])  # fmt: skip
    for topic in sorted(set().union(*groups.values())):
        history.note(*[_delivered(topic, record) for record in broker.read(topic)])
    for group, topics in groups.items():
        for topic in topics:
            if broker.exists(letters := f"{topic}.{group}.dead-letter"):
                history.note(*[_buried(group, topic, record) for record in broker.read(letters)])


def _delivered(topic: str, record: Seen) -> Delivered:
    return Delivered(
        at=record.at,
        event=record.id,
        place=(topic, record.partition, record.offset),
        key=_text(record.key),
        body=(record.value or b"").decode(),
        headers=_headers(record),
    )


def _buried(group: str, topic: str, record: Seen) -> Buried:
    about = {name.removeprefix(ABOUT): (value or b"").decode() for name, value in record.headers}
    return Buried(
        at=record.at,
        handler=f"{group}/{about['handler']}",
        event=record.id,
        place=(topic, int(about["partition"]), int(about["offset"])),
        key=_text(record.key),
        body=(record.value or b"").decode(),
        headers=_headers(record),
    )


def _headers(record: Seen) -> tuple[tuple[str, str | None], ...]:
    """The event's own headers, but for the one that its place in the outbox decides."""
    return tuple(
        (name, _text(value)) for name, value in record.headers if name != SEQUENCE and not name.startswith(ABOUT)
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()
