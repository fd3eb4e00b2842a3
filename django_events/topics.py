"""Topics: a name in Kafka bound to a payload type. Sending begins here."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from django_events import cloudevents
from django_events.codecs import JSONCodec
from django_events.conf import settings
from django_events.events import NO_EXTENSIONS, Event
from django_events.exceptions import DeclarationError, InvalidEvent
from django_events.kafka import names, spec

Payload = TypeVar("Payload")

HeaderPairs = Mapping[str, str | None] | Iterable[tuple[str, str | None]]
"""Headers as a mapping, or as pairs where a name repeats."""


class Topic(Generic[Payload]):
    """A topic and the type of its payloads. Declare it once, in ``events.py`` of an app. Thread-safe."""

    def __init__(
        self,
        name: str,
        payload_type: type[Payload],
        *,
        max_bytes: int = spec.DEFAULT_LIMIT,
        partitions: int = 2,
        replication_factor: int | None = None,
        config: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Declare the topic.

        ``name`` is without prefix. ``payload_type`` is a dataclass, TypedDict, msgspec.Struct or dict.
        ``max_bytes`` is the largest event, in bytes with key and headers; 1,000,000 unless said otherwise, which
        every Kafka takes. The others matter when the topic is created: ``partitions`` (2), ``replication_factor``
        (None: three, or as many as there are brokers) and Kafka's topic ``config``.

        Raises DeclarationError for an illegal name, an unsupported type, or a name declared differently before.
        """
        self.name = names.check_topic(name)
        self.payload_type = payload_type
        self.codec: JSONCodec[Payload] = JSONCodec(payload_type)
        self.spec = spec.TopicSpec(
            name=self.name,
            partitions=_number("partitions", partitions, name, 1, 100_000),
            replication_factor=replication_factor
            if replication_factor is None
            else _number("replication_factor", replication_factor, name, 1, 1_000),
            config=MappingProxyType(dict(config)),
            max_bytes=_number("max_bytes", max_bytes, name, 1_000, 900_000_000),  # librdkafka's limits
        )
        _declare(self)

    def __repr__(self) -> str:
        return f"Topic({self.name!r}, {_schema_name(self.payload_type) or 'dict'})"

    def event(
        self,
        payload: Payload,
        *,
        key: str | None = None,
        id: str | None = None,
        source: str | None = None,
        subject: str | None = None,
        type: str | None = None,
        time: datetime | None = None,
        dataschema: str | None = None,
        extensions: Mapping[str, str] = NO_EXTENSIONS,
        headers: HeaderPairs = (),
    ) -> Event[Payload]:
        """Make an event, encoded at once; nothing is saved or sent.

        Defaults: a random ``id``, the setting SOURCE as ``source``, the key as ``subject``, the topic's name as
        ``type``, now as ``time``, the payload type's name as ``dataschema``. ``extensions`` are CloudEvents
        extension attributes, ``headers`` any other headers. Events of one ``key`` keep their order.

        Raises EncodingError if the payload would not arrive as it is, InvalidEvent for the rest.
        """
        data, payload = self.codec.encode(payload)
        event = Event(
            topic=self.name,
            key=key,
            payload=payload,
            data=data,
            content_type=self.codec.content_type,
            id=str(uuid.uuid4()) if id is None else id,
            source=settings.SOURCE if source is None else source,
            type=self.name if type is None else type,
            subject=key if subject is None else subject,
            time=datetime.now(UTC) if time is None else time,
            dataschema=_schema_name(self.payload_type) if dataschema is None else dataschema,
            extensions=_frozen_mapping(extensions),
            headers=_frozen_pairs(headers),
        )
        cloudevents.check_attributes(event)
        return event

    def send(self, payload: Payload, *, key: str | None = None, using: str | None = None) -> Event[Payload]:
        """Save one event in the caller's transaction; it is sent right after the commit. Returns the event.

        ``using`` is the database; by default the one that the router names, or that of the running handler. Lock or
        write the changed rows first, then send: the order of a key is that of the transactions. Thread-safe; does
        not wait for Kafka. Raises SendError (its subclasses say why), or SettingsError for a database without an
        outbox; then nothing is saved.
        """
        from django_events.producing.produce import produce  # librdkafka is loaded at the first send, not at import

        event = self.event(payload, key=key)
        produce([event], using)
        return event

    def send_many(self, events: Sequence[Event[Payload]], *, using: str | None = None) -> None:
        """Save events of this topic, in their order, in one INSERT in the caller's transaction; else as ``send``."""
        from django_events.producing.produce import produce

        events = list(events)
        for event in events:
            if not isinstance(event, Event) or event.topic != self.name or event.offset is not None:
                raise InvalidEvent(
                    f"send_many() of topic {self.name!r} was given {event!r:.80}. Make events with its event()."
                )
            cloudevents.check_attributes(event)
        produce(events, using)


_declared: dict[str, Topic[Any]] = {}


def declared() -> list[Topic[Any]]:
    """All topics that this process declares, by name."""
    return [_declared[name] for name in sorted(_declared)]


def _declare(topic: Topic[Any]) -> None:
    before = _declared.get(topic.name)
    if before and before.payload_type is not topic.payload_type:
        raise DeclarationError(
            f"Topic {topic.name!r} is declared with payload type {topic.payload_type!r}, but also with "
            f"{before.payload_type!r}. Declare it once and import that declaration."
        )
    if before and before.spec != topic.spec:
        raise DeclarationError(
            f"Topic {topic.name!r} is declared twice with different options ({topic.spec} and {before.spec}). "
            "Declare it once and import that declaration."
        )
    _declared[topic.name] = topic
    spec.declare(topic.spec)


def _schema_name(payload_type: type) -> str | None:
    """The schema of events of this type: its name, as the other services that share the topics call it."""
    return None if payload_type is dict else getattr(payload_type, "__qualname__", None)


def _number(option: str, value: object, topic: object, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise DeclarationError(
            f"{option} of topic {topic!r} must be a whole number from {least:,} to {most:,}, not {value!r}."
        )
    return value


def _frozen_mapping(extensions: object) -> Mapping[str, str]:
    if not isinstance(extensions, Mapping):
        raise InvalidEvent(f"extensions must be a mapping of names to texts, not {extensions!r:.80}.")
    return MappingProxyType(dict(extensions)) if extensions else NO_EXTENSIONS


def _frozen_pairs(headers: object) -> tuple[tuple[str, str | None], ...]:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    try:
        return tuple((name, value) for name, value in pairs)  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise InvalidEvent(f"headers must be a mapping or pairs of (name, text), not {headers!r:.80}.") from error
