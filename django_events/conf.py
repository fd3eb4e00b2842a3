"""The settings in ``settings.DJANGO_EVENTS``: their names, defaults and types.

Values are read when they are used and never kept, so ``override_settings`` works.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import NoneType
from typing import Any

from django.conf import settings as django_settings

from django_events.exceptions import SettingsError

SHORTEST_HEARTBEAT = 0.1
"""Seconds; the least that BROADCAST_HEARTBEAT may be."""


class Settings:
    """``settings.DJANGO_EVENTS`` as attributes. Thread-safe; reading one raises SettingsError if its type is wrong."""

    KAFKA: Mapping[str, Any] = {}
    """librdkafka options of every client. Default: none, so librdkafka's own default broker list, which is empty.
    A value may be a function without arguments; it is called when a client is built (secrets)."""

    KAFKA_PRODUCER: Mapping[str, Any] = {}
    """librdkafka options of producers, in front of ``KAFKA``. Default: none."""

    KAFKA_CONSUMER: Mapping[str, Any] = {}
    """librdkafka options of consumers, in front of ``KAFKA``. Default: none."""

    SOURCE: str = ""
    """The CloudEvents ``source`` of the events that this site sends. It is part of what makes an event unique, so it
    must not change from server to server. Default: the first part of the settings module's name."""

    PREFIX: str = ""
    """Put literally in front of every topic and group name in Kafka. Default: nothing."""

    DATABASES: Sequence[str] = ("default",)
    """Aliases of the databases that have an outbox. Never a read replica. Default: ``["default"]``. An empty list: no
    database has any of our tables, and none is touched (``tables.py``)."""

    SEND_AFTER_COMMIT: bool = True
    """Whether this process sends its events itself right after commit. Default: True.
    False leaves all of them to ``manage.py catchup``."""

    REQUIRE_TRANSACTION: bool = True
    """Whether ``send()`` outside of ``transaction.atomic()`` is an error. Default: True, because without a
    transaction the event and the change that it tells of can be separated by a crash."""

    AUTO_CREATE_TOPICS: bool = True
    """Whether declared topics that Kafka does not have are created on first use. Default: True."""

    REQUIRE_DECLARED_TOPICS: bool = False
    """Whether a ``Topic()`` is an error once the apps' ``events.py`` and ``handlers.py`` have been imported, unless
    they declare it, too: such a topic is known to some processes only. Default: False."""

    EXIT_TIMEOUT: float = 2.0
    """How many seconds a process that exits waits for its last events to be sent. Default: 2. What is
    not sent by then stays in the outbox for ``manage.py catchup``."""

    START_BROADCAST: bool = False
    """Whether a process that serves requests starts its broadcast handlers with its first request. Default: False.
    ``django_events.start_broadcast()`` says it for one process; ``manage.py consume`` starts them anyway."""

    BROADCAST_HEARTBEAT: float = 10.0
    """How many seconds without any event it takes until a heartbeat is sent, at the latest, from 0.1. Readers of
    broadcast events are live while they have heard something within twice that. Default: 10, as in the Go library."""

    AROUND_HANDLERS: Sequence[str] = []
    """Dotted paths of the site's own context managers around each call of a handler: functions that get the list of
    the call's events (one, unless it is a batch) and return a context manager. The first is the outermost.
    Default: none."""

    PROCESSED_RETENTION: timedelta | None = timedelta(days=30)
    """How long it is remembered that an exactly-once handler has processed an event: for so long its effects happen
    once. It should be longer than Kafka keeps the events. Default: 30 days. None: for ever."""

    REDACT: Sequence[str] = []
    """What is hidden wherever a person or a log sees events: names of headers, and dotted paths into payloads, such as
    ``"customer.email"``. Lists are looked through, ``*`` is any one name. Kafka and the database keep the values.
    Default: nothing."""

    def __getattribute__(self, name: str) -> Any:
        default = object.__getattribute__(self, name)
        if not name.isupper():
            return default
        # A report of the error shows the variables here: none of them may hold the wrong value, which may be a secret.
        if problem := wrong_type(name, configured().get(name, default)):
            raise SettingsError(problem)
        value = configured().get(name, default)
        return value or default_source() if name == "SOURCE" else value


def configured() -> Mapping[str, Any]:
    """What the site has put into ``settings.DJANGO_EVENTS``; raises SettingsError if that is not a dict."""
    if problem := _problem(_given()):
        raise SettingsError(problem)
    found: Mapping[str, Any] = _given()
    return found


def is_given(name: str) -> bool:
    """Whether the site has set it to anything but nothing; a cheap question for what happens with each event."""
    given = _given()
    is_good = type(given) is dict or isinstance(given, Mapping)  # the first is cheap
    return bool(given.get(name)) if is_good else True


def _problem(given: object) -> str | None:
    is_good = isinstance(given, Mapping)
    return None if is_good else f"settings.DJANGO_EVENTS must be a dict, not a {type(given).__name__}."


def _given() -> Any:
    return getattr(django_settings, "DJANGO_EVENTS", {})


def names() -> frozenset[str]:
    """The names of all settings."""
    return frozenset(name for name in vars(Settings) if name.isupper())


def wrong_type(name: str, value: object) -> str | None:
    """What is wrong with the type of this setting's value, as a sentence with a remedy; None if nothing is."""
    wanted, is_good, remedy = _TYPES[type(getattr(Settings, name))]
    if isinstance(value, wanted) and is_good(value):
        return None
    given = f"a {type(value).__name__}" if wanted is Mapping else repr(value)  # options of Kafka may be secrets
    return f"settings.DJANGO_EVENTS[{name!r}] must be {remedy}, not {given}."


def default_source() -> str:
    """The first part of the settings module's name; raises SettingsError if there is no such module."""
    module = os.environ.get("DJANGO_SETTINGS_MODULE", "")
    if not module:
        raise SettingsError(
            "settings.DJANGO_EVENTS['SOURCE'] is not set and there is no settings module to take it from. "
            "Set it to a name for this site that never changes, such as 'shop'."
        )
    return module.partition(".")[0]


def _are_aliases(value: Any) -> bool:
    return not isinstance(value, str) and all(isinstance(alias, str) for alias in value)


def _are_paths(value: Any) -> bool:
    return not isinstance(value, str) and all(isinstance(path, str) and path for path in value)


def _is_duration(value: Any) -> bool:
    return not isinstance(value, bool) and 0 <= value <= 86_400


def _is_a_time_or_none(value: Any) -> bool:
    return value is None or timedelta(0) < value <= timedelta(days=36_500)


def _anything(value: Any) -> bool:
    return True


_TYPES: dict[type, tuple[Any, Callable[[Any], bool], str]] = {
    dict: (Mapping, _anything, "a dict"),
    str: (str, _anything, "a text"),
    tuple: (Sequence, _are_aliases, "a list of database aliases such as ['default'], empty without tables"),
    list: (Sequence, _are_paths, "a list of texts, such as names and dotted paths"),
    bool: (bool, _anything, "True or False"),
    float: ((int, float), _is_duration, "a number of seconds from 0 to 86,400"),
    timedelta: (
        (timedelta, NoneType),
        _is_a_time_or_none,
        "a datetime.timedelta above 0 and up to 36,500 days, or None",
    ),
}
"""By the type of the default: the types of a value, what else must be true of it, and how to say so."""

settings = Settings()
