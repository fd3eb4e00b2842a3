"""Topics: a name in Kafka bound to a payload type. Sending begins here."""

import uuid
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar, cast, overload

from asgiref.sync import sync_to_async

from django_events import cloudevents
from django_events.codecs import codec as codecs
from django_events.codecs.codec import Codec
from django_events.codecs.names import name_of, schema_of
from django_events.codecs.payload_types import codec_for
from django_events.conf import settings
from django_events.events import NO_EXTENSIONS, Event
from django_events.exceptions import DeclarationError, EncodingError, InvalidEvent
from django_events.following.subscription import LIMIT, Subscription, WhenFull
from django_events.following.subscription import TIMEOUT as SUBSCRIBED_WITHIN
from django_events.kafka import names, spec
from django_events.receiving import Reading

Payload = TypeVar("Payload")
Kept = TypeVar("Kept")

HeaderPairs = Mapping[str, str | None] | Iterable[tuple[str, str | None]]
"""Headers as a mapping, or as pairs where a name repeats."""

NO_CONFIG: Mapping[str, str] = MappingProxyType({})

TIMEOUT = 10.0
"""Seconds that ``send_now`` waits for Kafka, unless it is told otherwise."""


class Topic(Generic[Payload]):
    """A topic and the type of its payloads. Declare it once, in ``events.py`` of an app. Thread-safe.

    Every call that sends raises SendError (its subclasses say why) for what cannot be sent: then nothing is saved.
    Those without an ``a`` in front block, and raise CalledInAsync in an event loop.
    """

    @overload
    def __init__(
        self,
        name: str,
        payload_type: type[Payload],
        *,
        codec: Codec[Payload] | None = None,
        compacted: Literal[False] = False,
        max_bytes: int = spec.DEFAULT_LIMIT,
        partitions: int | None = None,
        replication_factor: int | None = None,
        config: Mapping[str, str] = NO_CONFIG,
    ) -> None: ...
    @overload
    def __init__(
        self: "Topic[Kept | None]",
        name: str,
        payload_type: type[Kept],
        *,
        codec: Codec[Kept] | None = None,
        compacted: Literal[True],
        max_bytes: int = spec.DEFAULT_LIMIT,
        partitions: int | None = None,
        replication_factor: int | None = None,
        config: Mapping[str, str] = NO_CONFIG,
    ) -> None: ...
    def __init__(
        self,
        name: str,
        payload_type: type[Any],
        *,
        codec: Codec[Any] | None = None,
        compacted: bool = False,
        max_bytes: int = spec.DEFAULT_LIMIT,
        partitions: int | None = None,
        replication_factor: int | None = None,
        config: Mapping[str, str] = NO_CONFIG,
    ) -> None:
        """Declare the topic.

        ``name`` is without prefix. ``payload_type`` is a dataclass, TypedDict, attrs class, msgspec.Struct, pydantic
        model or dict, sent as JSON; with a ``codec`` it is whatever that one takes. ``compacted`` has Kafka keep the
        last event of each key: then each event needs a key, and payloads may be None (a tombstone). ``max_bytes`` is
        the largest event, in bytes with key and headers; 1,000,000 unless said otherwise, which every Kafka takes. The
        others matter when the topic is created: ``partitions`` (None: two), ``replication_factor`` (None: three, or as
        many as there are brokers) and Kafka's topic ``config``.

        Raises DeclarationError for an illegal name, an unsupported type, a name declared differently before, or a
        declaration that comes too late where REQUIRE_DECLARED_TOPICS is set.
        """
        self.name = names.check_topic(name)
        """Without prefix."""
        self.payload_type = payload_type
        if codec is not None:
            codecs.check_codec(codec, name)
        self._given_codec = codec
        self.codec: Codec[Any] = codec_for(payload_type) if codec is None else codec
        """How payloads become bytes, and bytes payloads."""
        self.spec = spec.TopicSpec(
            name=self.name,
            partitions=_number_or_none("partitions", partitions, name, 1, 100_000),
            replication_factor=_number_or_none("replication_factor", replication_factor, name, 1, 1_000),
            config=_config(config, compacted, name),
            max_bytes=_number("max_bytes", max_bytes, name, 1_000, 900_000_000),  # librdkafka's limits
        )
        self.reading = Reading(topic=self.name, codec=self.codec, is_compacted=self.spec.is_compacted)
        _declare(self)

    def __repr__(self) -> str:
        return f"Topic({self.name!r}, {name_of(self.payload_type)})"

    # ── events ───────────────────────────────────────────────────────────────────────────────────────────────────

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
        if payload is None:
            raise EncodingError(
                f"A payload of topic {self.name!r} is None. Send a {name_of(self.payload_type)}; on a compacted topic, "
                "send_tombstone(key) has Kafka forget a key."
            )
        data, payload = codecs.encode(self.codec, payload, name_of(self.payload_type))
        return self._event(
            payload,
            data,
            key=key,
            id=id,
            source=source,
            subject=subject,
            type=type,
            time=time,
            dataschema=schema_of(self.payload_type) if dataschema is None else dataschema,
            extensions=extensions,
            headers=headers,
        )

    def tombstone(self, key: str, *, id: str | None = None, headers: HeaderPairs = ()) -> Event[Payload]:
        """Make the event that has Kafka forget all events of this key, and that tells readers so: its payload is None.

        For compacted topics. Errors as in ``event``.
        """
        return self._event(cast(Payload, None), None, key=key, id=id, headers=headers)

    def _event(
        self,
        payload: Payload,
        data: bytes | None,
        *,
        key: str | None,
        id: str | None,
        headers: HeaderPairs,
        source: str | None = None,
        subject: str | None = None,
        type: str | None = None,
        time: datetime | None = None,
        dataschema: str | None = None,
        extensions: Mapping[str, str] = NO_EXTENSIONS,
    ) -> Event[Payload]:
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
            dataschema=dataschema,
            extensions=_frozen_mapping(extensions),
            headers=_frozen_pairs(headers),
        )
        cloudevents.check_attributes(event)
        return event

    # ── in the caller's transaction ──────────────────────────────────────────────────────────────────────────────

    def send(self, payload: Payload, *, key: str | None = None, using: str | None = None) -> Event[Payload]:
        """Save one event in the caller's transaction; it is sent right after the commit. Returns the event.

        ``using`` is the database; by default the one that the router names, or that of the running handler. Lock or
        write the changed rows first, then send: the order of a key is that of the transactions. Does not wait for
        Kafka. Raises SettingsError for a database without an outbox.
        """
        from django_events.producing.produce import produce  # librdkafka is loaded at the first send, not at import

        event = self.event(payload, key=key)
        produce([event], using)
        return event

    def send_many(self, events: Sequence[Event[Payload]], *, using: str | None = None) -> None:
        """Save events of this topic, in their order, in one INSERT in the caller's transaction; else as ``send``."""
        from django_events.producing.produce import produce

        produce(self._checked(events, "send_many"), using)

    def send_tombstone(self, key: str, *, using: str | None = None) -> Event[Payload]:
        """Save a tombstone, as ``send`` saves an event. For compacted topics."""
        event = self.tombstone(key)
        self.send_many([event], using=using)
        return event

    async def asend(self, payload: Payload, *, key: str | None = None, using: str | None = None) -> Event[Payload]:
        """Save one event in a transaction of its own; else as ``send``.

        Nothing that is awaited shares a transaction. Where an event tells of a change in the database, put both into
        one function with ``transaction.atomic()`` and ``send``, and await ``sync_to_async(function)(…)``.
        """
        event = self.event(payload, key=key)
        await self.asend_many([event], using=using)
        return event

    async def asend_many(self, events: Sequence[Event[Payload]], *, using: str | None = None) -> None:
        """Save events of this topic, in their order, in one transaction of their own; else as ``asend``."""
        from django_events.producing.produce import produce

        checked = self._checked(events, "asend_many")
        await sync_to_async(produce, thread_sensitive=True)(checked, using, alone=True)

    async def asend_tombstone(self, key: str, *, using: str | None = None) -> Event[Payload]:
        """Save a tombstone, as ``asend`` saves an event. For compacted topics."""
        event = self.tombstone(key)
        await self.asend_many([event], using=using)
        return event

    # ── straight to Kafka ────────────────────────────────────────────────────────────────────────────────────────

    def send_now(self, payload: Payload, *, key: str | None = None, timeout: float = TIMEOUT) -> Event[Payload]:
        """Send one event to Kafka, without transaction or table; returns it when Kafka has acknowledged it.

        Waits for at most ``timeout`` seconds; then, or when Kafka refuses it, raises DeliveryFailed. Has no order with
        events that are sent otherwise. Creates a declared topic that Kafka lacks, if AUTO_CREATE_TOPICS allows.
        """
        event = self.event(payload, key=key)
        self.send_many_now([event], timeout=timeout)
        return event

    def send_many_now(self, events: Sequence[Event[Payload]], *, timeout: float = TIMEOUT) -> None:
        """Send events of this topic, in their order; returns when Kafka has acknowledged all. Else as ``send_now``.

        If it raises DeliveryFailed, some of them may have arrived.
        """
        from django_events.producing.immediate import produce_now

        produce_now(self._checked(events, "send_many_now"), timeout)

    def send_tombstone_now(self, key: str, *, timeout: float = TIMEOUT) -> Event[Payload]:
        """Send a tombstone, as ``send_now`` sends an event. For compacted topics."""
        event = self.tombstone(key)
        self.send_many_now([event], timeout=timeout)
        return event

    async def asend_now(self, payload: Payload, *, key: str | None = None, timeout: float = TIMEOUT) -> Event[Payload]:
        """As ``send_now``, in a thread."""
        event = self.event(payload, key=key)
        await self.asend_many_now([event], timeout=timeout)
        return event

    async def asend_many_now(self, events: Sequence[Event[Payload]], *, timeout: float = TIMEOUT) -> None:
        """As ``send_many_now``, in a thread."""
        from django_events.producing.immediate import produce_now

        # In a thread of its own: while Kafka is away, it holds up nobody's database work.
        checked = self._checked(events, "asend_many_now")
        await sync_to_async(produce_now, thread_sensitive=False)(checked, timeout)

    async def asend_tombstone_now(self, key: str, *, timeout: float = TIMEOUT) -> Event[Payload]:
        """As ``send_tombstone_now``, in a thread."""
        event = self.tombstone(key)
        await self.asend_many_now([event], timeout=timeout)
        return event

    # ── received at run time ─────────────────────────────────────────────────────────────────────────────────────

    def subscribe(
        self,
        *,
        key: Hashable = None,
        by: Callable[[Event[Payload]], Hashable] | None = None,
        limit: int = LIMIT,
        when_full: WhenFull = WhenFull.DROP_OLDEST,
        callback: Callable[[Event[Payload]], object] | None = None,
        timeout: float = SUBSCRIBED_WITHIN,
    ) -> Subscription[Payload]:
        """A subscription to what is sent from ``with`` or ``async with`` on, in this process; iterate over it.

        ``key``: only events of this key, or of which the function ``by`` makes this key; None for all. Give ``by`` the
        same function each time: events are looked up once for each. ``limit`` is how many events wait for the reader;
        then ``when_full`` says what follows. With a ``callback`` each event is given to it, in a thread that all
        callbacks share unless they take long. ``timeout`` is how many seconds ``with`` waits for Kafka.

        Does not block; entering does. Raises DeclarationError for what cannot be.
        """
        from django_events.following.hub import hub  # librdkafka is loaded at the first subscription

        hub.expect(self.reading)
        return Subscription(
            hub,
            self.name,
            key=key,
            by=by,
            limit=limit,
            when_full=when_full,
            callback=callback,
            timeout=timeout,
        )

    def _checked(self, events: Iterable[Event[Payload]], call: str) -> list[Event[Payload]]:
        """The events, which must be of this topic's own making."""
        checked = list(events)
        for event in checked:
            if not isinstance(event, Event) or event.topic != self.name or event.offset is not None:
                raise InvalidEvent(
                    f"{call}() of topic {self.name!r} was given {event!r:.80}. Make events with its event()."
                )
            cloudevents.check_attributes(event)
        return checked


_declared: dict[str, Topic[Any]] = {}
_is_complete = False


def declared() -> list[Topic[Any]]:
    """All topics that this process declares, by name."""
    return [_declared[name] for name in sorted(_declared)]


def all_are_declared() -> None:
    """The modules in which apps declare topics are imported: what comes now is declared in some processes only."""
    global _is_complete
    _is_complete = True


def _declare(topic: Topic[Any]) -> None:
    before = _declared.get(topic.name)
    if before is None and _is_complete and settings.REQUIRE_DECLARED_TOPICS:
        raise DeclarationError(
            f"Topic {topic.name!r} is made after the apps' declarations were read, so other processes do not know it. "
            "Declare it in events.py of an installed app, or leave REQUIRE_DECLARED_TOPICS off."
        )
    if before and before.payload_type != topic.payload_type:
        raise DeclarationError(
            f"Topic {topic.name!r} is declared with payload type {topic.payload_type!r}, but also with "
            f"{before.payload_type!r}. Declare it once and import that declaration."
        )
    if before and (before.spec != topic.spec or before._given_codec != topic._given_codec):
        raise DeclarationError(
            f"Topic {topic.name!r} is declared twice with different options ({topic.spec} and {before.spec}, codecs "
            f"{topic.codec!r:.80} and {before.codec!r:.80}). Declare it once and import that declaration."
        )
    _declared[topic.name] = topic
    spec.declare(topic.spec)


def _number_or_none(option: str, value: object, topic: object, least: int, most: int) -> int | None:
    return None if value is None else _number(option, value, topic, least, most)


def _number(option: str, value: object, topic: object, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise DeclarationError(
            f"{option} of topic {topic!r} must be a whole number from {least:,} to {most:,}, not {value!r}."
        )
    return value


def _config(given: object, compacted: bool, topic: str) -> Mapping[str, str]:
    if not isinstance(given, Mapping) or not all(isinstance(text, str) for pair in given.items() for text in pair):
        raise DeclarationError(
            f"config of topic {topic!r} must be a mapping of names to texts such as {{'retention.ms': '86400000'}}, "
            f"not {given!r:.80}."
        )
    config = {spec.CLEANUP_POLICY: "compact", **given} if compacted else dict(given)
    if compacted and not spec.is_compacting(config[spec.CLEANUP_POLICY]):
        raise DeclarationError(
            f"Topic {topic!r} is declared as compacted, but with {spec.CLEANUP_POLICY}="
            f"{config[spec.CLEANUP_POLICY]!r}. Remove one of them, or use 'compact,delete'."
        )
    return MappingProxyType(config)


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
