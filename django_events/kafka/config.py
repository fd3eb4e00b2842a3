"""librdkafka's options for our clients: what we set, what the site sets, and what would lose or reorder events.

The one place that knows the options' names and aliases. The system check calls ``problems``; every client calls
``producer_options`` or ``consumer_options`` when it is built, because web servers run no checks.
Source of names, aliases and defaults: CONFIGURATION.md of librdkafka 2.16.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django_events.conf import settings
from django_events.exceptions import BrokerUnavailable, SettingsError
from django_events.kafka import names, security, spec
from django_events.kafka.secrets import Hidden, hidden, reveal

ALIASES = {
    "metadata.broker.list": "bootstrap.servers",
    "max.in.flight": "max.in.flight.requests.per.connection",
    "request.required.acks": "acks",
    "delivery.timeout.ms": "message.timeout.ms",
    "message.send.max.retries": "retries",
    "compression.type": "compression.codec",
    "queue.buffering.max.ms": "linger.ms",
    "auto.commit.enable": "enable.auto.commit",
    "sasl.mechanism": "sasl.mechanisms",
}
"""Other names that librdkafka knows for an option."""

PRODUCER_DEFAULTS: dict[str, Any] = {
    "linger.ms": 5,  # a round flushes, which ends the wait; so this only fills batches while a round is produced
    "partitioner": "murmur2_random",  # the partition that Java clients choose for the same key
    "socket.keepalive.enable": True,
    "log.connection.close": False,
}
STATISTICS = 5_000
"""Milliseconds between two times that a consumer's client says where partitions end, and so that it lives."""

CONSUMER_DEFAULTS: dict[str, Any] = {
    "group.protocol": "classic",
    "partition.assignment.strategy": "cooperative-sticky",
    "topic.metadata.refresh.interval.ms": 10_000,  # new topics and partitions are noticed so soon, not after 300 s
    "queued.max.messages.kbytes": 16_384,  # prefetched bytes; the rest of the 64 MB default is only memory
    "statistics.interval.ms": STATISTICS,
    "socket.keepalive.enable": True,
    "log.connection.close": False,
}
_OF_CLASSIC_GROUPS = {"partition.assignment.strategy"}
"""Those of our defaults that cannot be set with ``group.protocol=consumer``."""

LARGEST_RECORD = 1_000_000_000
"""Bytes; the largest that librdkafka allows."""

PRODUCER_FIXED: dict[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    "message.timeout.ms": 0,  # never give a record up on time: the row would be lost from its place in the order
    "message.max.bytes": LARGEST_RECORD,  # it is for Kafka to refuse an event that newer code has declared so large
}
CONSUMER_FIXED: dict[str, Any] = {
    "auto.offset.reset": "earliest",  # "latest" skips what is left where an offset is gone, or in a new partition
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "isolation.level": "read_committed",
}

FOLLOWERS = "django-events.broadcast"
"""In place of a group, for consumers that are in none: whose access rights are used."""

_SAME = {"-1": "all", "true": "true", "false": "false"}


def problems() -> Iterator[str]:
    """Everything wrong with the Kafka options in the settings, each as a sentence that names value and remedy."""
    for setting in ("KAFKA", "KAFKA_PRODUCER", "KAFKA_CONSUMER"):
        yield from _problems_of(setting, _given(setting))
    seen = set()
    for setting in ("KAFKA_PRODUCER", "KAFKA_CONSUMER"):
        for problem in security.problems(resolve_aliases(_given("KAFKA")) | resolve_aliases(_given(setting))):
            if problem not in seen:
                seen.add(problem)
                yield problem
    try:
        names.check_prefix(settings.PREFIX)
    except Exception as error:
        yield f"settings.DJANGO_EVENTS['PREFIX']: {error}"


def of_clients() -> list[dict[str, Any]]:
    """What the settings have for each kind of client (those that only ask, producers, consumers), by the options' own
    names. Secrets are ``Hidden``, functions not called."""
    shared = resolve_aliases(_given("KAFKA"))
    return [shared, *(shared | resolve_aliases(_given(own)) for own in ("KAFKA_PRODUCER", "KAFKA_CONSUMER"))]


def producer_options(*, gapless: bool = True, resolve: "Resolve | None" = None) -> dict[str, Any]:
    """The options of a producer, values of functions resolved; raises SettingsError for a loss-making one, and
    BrokerUnavailable if a function raises. Secrets are ``Hidden``.

    With ``gapless`` a batch that the broker refuses ends the producer instead of being overtaken by the next.
    """
    fixed = PRODUCER_FIXED | {"enable.gapless.guarantee": gapless}
    # One record above a topic's limit fails its whole batch: no batch may be above the smallest limit.
    defaults = PRODUCER_DEFAULTS | {"batch.size": min(1_000_000, spec.smallest_limit())}
    return _merged(defaults, "KAFKA_PRODUCER", fixed, resolve)


def letter_producer_options() -> dict[str, Any]:
    """The options of a producer of dead letters; else as above."""
    # Not gapless: no two letters of one key are ever on their way at once.
    fixed = PRODUCER_FIXED | {"enable.gapless.guarantee": False}
    # Below the limit of every dead-letter topic, so that one letter above it fails no other.
    defaults = PRODUCER_DEFAULTS | {"batch.size": spec.HEADROOM}
    return _merged(defaults, "KAFKA_PRODUCER", fixed)


def consumer_options(group: str, *, resolve: "Resolve | None" = None) -> dict[str, Any]:
    """The options of a consumer of this group, values of functions resolved; raises SettingsError likewise."""
    fixed = CONSUMER_FIXED | {"group.id": names.on_wire(group)}
    options = _merged(CONSUMER_DEFAULTS, "KAFKA_CONSUMER", fixed, resolve)
    if _text(options["group.protocol"]) == "consumer":
        # KIP-848: the broker says how partitions are assigned. What the site itself says of that, librdkafka refuses.
        given = resolve_aliases(settings.KAFKA) | resolve_aliases(settings.KAFKA_CONSUMER)
        options = {name: value for name, value in options.items() if name not in _OF_CLASSIC_GROUPS or name in given}
    return options


def follower_options() -> dict[str, Any]:
    """The options of a consumer that is in no group and says itself where it reads. librdkafka wants a name of a group
    all the same, which no broker keeps: nothing is joined and nothing committed."""
    options = consumer_options(FOLLOWERS)
    options["auto.offset.reset"] = "error"  # what is missing must not be skipped silently
    options["enable.partition.eof"] = True  # an end is told: to ask a client may hang (librdkafka#5476)
    return {name: value for name, value in options.items() if name != "group.instance.id"}


def shares_by_increments(options: Mapping[str, Any]) -> bool:
    """Whether consumers with these options hear only of what changes, not of all partitions that they have."""
    is_classic = _text(options["group.protocol"]) == "classic"
    return not is_classic or _text(options["partition.assignment.strategy"]) == "cooperative-sticky"


def admin_options() -> dict[str, Any]:
    """The options of a client that only asks about topics and creates them."""
    return _merged({"log.connection.close": False}, None, {})


def renewed_credentials() -> tuple[Hidden, Hidden] | None:
    """User and password of a consumer as they are now; None if neither comes from a function."""
    given = resolve_aliases(_given("KAFKA")) | resolve_aliases(_given("KAFKA_CONSUMER"))
    names_of_both = ("sasl.username", "sasl.password")
    if not any(is_function(name, given.get(name)) for name in names_of_both):
        return None
    user, password = (_resolved(name, given.get(name)) for name in names_of_both)
    return user, password


def brokers() -> str:
    """The configured broker list, for people to read; empty if there is none."""
    given = resolve_aliases(_given("KAFKA")).get("bootstrap.servers", "")
    return str(_resolved("bootstrap.servers", given))


def resolve_aliases(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with each alias replaced by the option's own name."""
    return {ALIASES.get(name, name): value for name, value in options.items()}


def is_function(name: str, value: Any) -> bool:
    """Whether it is a function that gives the value; librdkafka's own callbacks are not."""
    return callable(value) and not name.endswith("_cb") and name not in ("logger", "on_commit", "on_delivery")


Resolve = Callable[[str, Any], Any]
"""From an option's name and what the settings have for it to its value; None for no value."""


def _given(setting: str) -> dict[Any, Any]:
    """The options in this setting, with secrets hidden before anybody works on them."""
    return {name: hidden(str(name), value) for name, value in getattr(settings, setting).items()}


def _merged(
    defaults: Mapping[str, Any], own: str | None, fixed: Mapping[str, Any], resolve: Resolve | None = None
) -> dict[str, Any]:
    """``own`` is the setting for this kind of client, which is in front of KAFKA."""
    found = next(problems(), None)
    if found:
        raise SettingsError(found)
    given = resolve_aliases(_given("KAFKA")) | resolve_aliases(_given(own) if own else {})
    if not given.get("bootstrap.servers"):
        raise SettingsError(
            "settings.DJANGO_EVENTS['KAFKA'] names no broker. Set 'bootstrap.servers', for example "
            "{'bootstrap.servers': 'kafka1:9092,kafka2:9092'}."
        )
    resolve = resolve or _resolved
    resolved = {name: resolve(name, value) for name, value in given.items()}
    found = next(_problems_of("KAFKA", resolved), None)  # what a function has returned
    if found:
        raise SettingsError(found)
    return {**defaults, **resolved, **fixed}


def _resolved(name: str, value: Any) -> Any:
    """The value, or what its function returns now, hidden if it may be a secret."""
    if not is_function(name, value):
        return value
    try:
        return hidden(name, value())
    except Exception as error:
        raise BrokerUnavailable(
            f"The function for {name!r} in settings.DJANGO_EVENTS['KAFKA'] raised {type(error).__name__}: {error}"
        ) from error


def _problems_of(setting: str, options: Mapping[Any, Any]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for given_name, value in options.items():
        if not isinstance(given_name, str):
            yield f"settings.DJANGO_EVENTS[{setting!r}] has the option {given_name!r}; names are texts. Remove it."
            continue
        where = f"settings.DJANGO_EVENTS[{setting!r}][{given_name!r}]"
        name = ALIASES.get(given_name, given_name)
        if name in seen:
            yield f"{where} is the same option as {seen[name]!r}. Keep one of them."
        seen[name] = given_name
        if name.startswith(("sasl.", "ssl.")) and not security.is_plain(value):
            yield f"{where} must be a text, not a {type(reveal(value)).__name__}. Correct it."
        rule = _RULES.get(name)
        if rule and not callable(value) and not rule[0](value):
            yield f"{where} is {value!r}, but {rule[1]}. Remove it."


def _text(value: Any) -> str:
    text = str(value).strip().lower()
    return _SAME.get(text, text)


def _is(wanted: str) -> Callable[[Any], bool]:
    return lambda value: _text(value) == wanted


def _at_least(bound: int) -> Callable[[Any], bool]:
    return lambda value: _text(value).isdigit() and int(value) >= bound


def _never(value: Any) -> bool:
    return False


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "acks": (_is("all"), "anything but 'all' loses acknowledged events when a broker fails"),
    "enable.idempotence": (_is("true"), "without idempotence a retry duplicates and reorders events"),
    "enable.gapless.guarantee": (_is("true"), "without it events overtake one that the broker refused"),
    "message.timeout.ms": (_is("0"), "a finite time-out gives events up during an outage"),
    "retries": (_at_least(2_147_483_647), "limited retries give events up during an outage"),
    "max.in.flight.requests.per.connection": (
        lambda value: _text(value).isdigit() and 1 <= int(value) <= 5,
        "idempotence allows 1 to 5; more reorders events",
    ),
    "transactional.id": (_never, "the outbox is the transaction; Kafka transactions are not supported"),
    "partitioner": (
        lambda value: _text(value) != "random",
        "'random' spreads the events of one key over partitions, which loses their order",
    ),
    "default.topic.config": (_never, "it would override options that keep events safe; give its options directly"),
    "message.max.bytes": (_never, "each topic has a limit of its own (Topic(…, max_bytes=…)), which send() looks at"),
    "enable.auto.commit": (_is("false"), "auto commit loses events that no handler has handled"),
    "enable.auto.offset.store": (_is("false"), "stored offsets would pass events that no handler has handled"),
    "isolation.level": (_is("read_committed"), "'read_uncommitted' hands aborted records to handlers"),
    "auto.offset.reset": (
        lambda value: _text(value) in ("earliest", "smallest", "beginning"),
        "anything but 'earliest' skips events, or reads none, where Kafka has no offset of a group any more; where a "
        "new group begins, ConsumerGroup(…, start=…) says",
    ),
    "group.id": (_never, "each ConsumerGroup() has its own"),
}
"""What an option's value must be, and what happens otherwise."""
