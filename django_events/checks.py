"""System checks of settings and declarations. None of them connects to anything."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connections, router
from django.utils.module_loading import import_string

from django_events import broadcasting, conf, handlers, tables, topics
from django_events.conf import settings
from django_events.exceptions import EventsError, SettingsError
from django_events.kafka import config, names, security


def register_checks() -> None:
    """Have ``manage.py check`` run the checks of this module. Idempotent."""
    register(check_settings)
    register(check_declarations)
    register(check_databases)
    register(check_sqlite)
    register(check_time_zones)
    register(check_handlers)
    register(check_security, Tags.security, deploy=True)


def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E001–E004, E015, W001, W003: ``settings.DJANGO_EVENTS``."""
    try:
        given = conf.configured()
    except EventsError as error:
        return [Error(str(error), id="django_events.E001")]
    found: list[CheckMessage] = [*_unknown_names(given), *_wrong_types(given)]
    if found:
        return found  # the checks below read the settings, which would raise
    found += [Error(text, id="django_events.E003") for text in config.problems()] or _librdkafka_problems()
    found += _unknown_databases()
    if settings.BROADCAST_HEARTBEAT < conf.SHORTEST_HEARTBEAT:
        found.append(_too_short_heartbeat())
    if not given.get("SOURCE"):
        found.append(_no_source())
    return found


def check_declarations(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E005–E007: topics and groups that collide with each other in Kafka; E011: options of a handler that do. What is
    wrong alone raises at once."""
    try:
        prefix = settings.PREFIX
    except EventsError:
        return []  # E002 says it
    return [*_colliding_topics(), *_colliding_dead_letters(), *_too_long_names(prefix), *_contradicting_options()]


def check_databases(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E008, E009, E016, W004: an outbox where none can be, and events for a database that has none."""
    try:
        outboxes = [alias for alias in settings.DATABASES if alias in django_settings.DATABASES]
    except EventsError:
        return []  # E002 says it
    return [
        *_mirrors(outboxes),
        *_of_other_vendors(outboxes),
        *_forbidden_by_routers(outboxes),
        *_events_without_outbox(outboxes),
    ]


def check_time_zones(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E010: times without time zone."""
    if django_settings.USE_TZ:
        return []
    return [
        Error(
            "settings.USE_TZ is False, but the times of events and dead letters have a time zone.",
            hint="Set USE_TZ = True, as Django does by default.",
            id="django_events.E010",
        )
    ]


def check_handlers(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E012, E013: what handlers or the setting AROUND_HANDLERS name, and nobody has; E014: handlers that need tables
    where there are none."""
    try:
        paths = settings.AROUND_HANDLERS
    except EventsError:
        return []  # E002 says it
    without_tables = [*_handlers_without_tables()]
    return [*_unknown_surroundings(paths), *(without_tables or _unknown_databases_of_handlers())]


def check_security(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """W005–W007, only with ``check --deploy``: options with which one tries things out, and others listen, or pose as
    Kafka."""
    try:
        clients = config.of_clients()
    except EventsError:
        return []  # E002 says it
    found = [
        message
        for options in clients
        for message in (*_unverified(options), *_overheard(options), *_telling_secrets(options))
    ]
    return [*{message.msg: message for message in found}.values()]


def check_sqlite(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """W002: SQLite without the options with which several processes can write."""
    try:
        conf.settings.DATABASES  # noqa: B018
    except EventsError:
        return []  # E002 says it
    return [_sqlite_options(alias) for alias in django_settings.DATABASES if _is_unprepared_sqlite(alias)]


def _unknown_names(given: Any) -> Iterator[CheckMessage]:
    for name in sorted(set(map(str, given)) - conf.names()):
        yield Error(
            f"settings.DJANGO_EVENTS has no setting named {name!r}.",
            hint=f"Remove it, or use one of: {', '.join(sorted(conf.names()))}.",
            id="django_events.E001",
        )


def _wrong_types(given: Any) -> Iterator[CheckMessage]:
    for name in sorted(conf.names() & set(given)):
        problem = conf.wrong_type(name, given[name])
        if problem:
            yield Error(problem, id="django_events.E002")


def _librdkafka_problems() -> list[CheckMessage]:
    if not config.brokers():
        return [
            Warning(
                "settings.DJANGO_EVENTS['KAFKA'] names no broker, so no event can be sent or handled.",
                hint="Set 'bootstrap.servers', for example {'bootstrap.servers': 'kafka1:9092,kafka2:9092'}.",
                id="django_events.W003",
            )
        ]
    from django_events.kafka.validation import refused_options  # loads librdkafka

    return [Error(text, id="django_events.E003") for text in refused_options()]


def _unknown_databases() -> Iterator[CheckMessage]:
    for alias in settings.DATABASES:
        if alias not in django_settings.DATABASES:
            yield Error(
                f"settings.DJANGO_EVENTS['DATABASES'] names {alias!r}, which is not in settings.DATABASES.",
                hint=f"Use aliases of databases with an outbox: {', '.join(django_settings.DATABASES)}.",
                id="django_events.E004",
            )


def _too_short_heartbeat() -> CheckMessage:
    return Error(
        f"settings.DJANGO_EVENTS['BROADCAST_HEARTBEAT'] is {settings.BROADCAST_HEARTBEAT:g}, which would be a storm.",
        hint=f"Use a number of seconds from {conf.SHORTEST_HEARTBEAT:g}.",
        id="django_events.E015",
    )


def _unverified(options: Mapping[str, Any]) -> Iterator[CheckMessage]:
    if name := security.unverified(options):
        yield Warning(
            f"Kafka's option {name!r} in settings.DJANGO_EVENTS has clients take anybody's certificate for Kafka's.",
            hint="Remove it, and let 'ssl.ca.location' name the authority that has signed the brokers' certificates; "
            "these must be for the names in 'bootstrap.servers'.",
            id="django_events.W005",
        )


def _overheard(options: Mapping[str, Any]) -> Iterator[CheckMessage]:
    if hosts := security.overheard(options):
        yield Warning(
            f"Clients of Kafka talk to {', '.join(hosts)} in plain text: whoever is on the way can read and change "
            "events, and read passwords.",
            hint="Set 'security.protocol' in settings.DJANGO_EVENTS['KAFKA'] to 'SASL_SSL' or 'SSL'. In a network that "
            "you trust, name this check in SILENCED_SYSTEM_CHECKS.",
            id="django_events.W006",
        )


def _telling_secrets(options: Mapping[str, Any]) -> Iterator[CheckMessage]:
    if security.tells_secrets(options):
        yield Warning(
            "Kafka's option 'debug' in settings.DJANGO_EVENTS has librdkafka log with what clients are configured, or "
            "how they log in.",
            hint="Leave 'conf', 'security' and 'all' out of it, or remove it once the trouble is found.",
            id="django_events.W007",
        )


def _mirrors(outboxes: list[str]) -> Iterator[CheckMessage]:
    for alias in outboxes:
        if mirrored := django_settings.DATABASES[alias].get("TEST", {}).get("MIRROR"):
            yield Error(
                f"settings.DJANGO_EVENTS['DATABASES'] names {alias!r}, which is a replica of {mirrored!r}.",
                hint=f"Remove it: the events are in the outbox of {mirrored!r}, and a replica cannot be written.",
                id="django_events.E008",
            )


def _of_other_vendors(outboxes: list[str]) -> Iterator[CheckMessage]:
    for alias in outboxes:
        if (vendor := connections[alias].vendor) not in ("postgresql", "sqlite"):
            yield Error(
                f"settings.DJANGO_EVENTS['DATABASES'] names {alias!r}, whose database is {vendor}: an outbox needs "
                "PostgreSQL, or SQLite to try things out.",
                hint="Name a database of PostgreSQL there. Or name none (DATABASES = []): send_now() and idempotent "
                "handlers need no tables.",
                id="django_events.E016",
            )


def _forbidden_by_routers(outboxes: list[str]) -> Iterator[CheckMessage]:
    from django_events.models import OutgoingEvent

    for alias in outboxes:
        if not router.allow_migrate_model(alias, OutgoingEvent):
            yield Error(
                f"settings.DJANGO_EVENTS['DATABASES'] names {alias!r}, but a router in DATABASE_ROUTERS forbids the "
                "tables of django_events there, so it has no outbox.",
                hint="Remove it, or let the router's allow_migrate() return True for django_events.",
                id="django_events.E009",
            )


def _events_without_outbox(outboxes: list[str]) -> Iterator[CheckMessage]:
    from django_events.models import OutgoingEvent

    if tables.there_are_none():
        return  # send() says so
    chosen = router.db_for_write(OutgoingEvent)
    if chosen not in outboxes:
        yield Warning(
            f"Events go to the database {chosen!r} unless send() says using=, but settings.DJANGO_EVENTS['DATABASES'] "
            "does not name it, so they are refused.",
            hint=f"Add {chosen!r} to DATABASES, or have a router's db_for_write() name one of {outboxes!r} for "
            "OutgoingEvent.",
            id="django_events.W004",
        )


def _no_source() -> CheckMessage:
    try:
        source = conf.default_source()
    except EventsError as error:
        return Error(str(error), id="django_events.E002")
    return Warning(
        f"settings.DJANGO_EVENTS['SOURCE'] is not set; events are sent with source {source!r}.",
        hint="Set it to a name for this site that stays when the settings module is renamed: the source is part "
        "of what makes an event unique.",
        id="django_events.W001",
    )


def _colliding_topics() -> Iterator[CheckMessage]:
    seen: dict[str, str] = {}
    for topic in topics.declared():
        other = seen.setdefault(topic.name.replace(".", "_"), topic.name)
        if other != topic.name:
            yield Error(
                f"The topics {other!r} and {topic.name!r} differ only in '.' and '_', which Kafka does not allow.",
                hint="Rename one of them.",
                id="django_events.E005",
            )


def _colliding_dead_letters() -> Iterator[CheckMessage]:
    seen: dict[str, str] = {}
    for group in handlers.declared():
        for topic in group.topics:
            mine = f"topic {topic!r} at group {group.name!r}"
            other = seen.setdefault(names.dead_letter_topic(topic, group.name).replace(".", "_"), mine)
            if other != mine:
                yield Error(
                    f"The dead letters of {other} and of {mine} would share one topic.",
                    hint="Rename one of the groups or topics.",
                    id="django_events.E007",
                )


def _contradicting_options() -> Iterator[CheckMessage]:
    for group in handlers.declared():
        for handler, text in group.contradictions:
            yield Error(f"Handler {handler} contradicts itself: {text}.", id="django_events.E011")


def _too_long_names(prefix: str) -> Iterator[CheckMessage]:
    wanted = {topic.name for topic in topics.declared()}
    wanted |= {source for group in handlers.declared() for source in group.sources}
    wanted |= {names.dead_letter_topic(topic, group.name) for group in handlers.declared() for topic in group.topics}
    if broadcasting.declared():
        wanted.add(names.HEARTBEAT_TOPIC)
    for name in sorted(wanted):
        if len(prefix + name) > names.LONGEST_TOPIC:
            yield Error(
                f"The topic {prefix + name!r} has {len(prefix + name)} characters; Kafka allows {names.LONGEST_TOPIC}.",
                hint="Shorten the setting PREFIX, the topic's name or the group's name.",
                id="django_events.E006",
            )


def _unknown_surroundings(paths: Sequence[str]) -> Iterator[CheckMessage]:
    for path in paths:
        try:
            found = import_string(path)
        except Exception as error:
            yield Error(
                f"settings.DJANGO_EVENTS['AROUND_HANDLERS'] names {path!r}, which cannot be imported: {error}",
                hint="Name a function that gets a list of events and returns a context manager.",
                id="django_events.E012",
            )
            continue
        if not callable(found):
            yield Error(
                f"settings.DJANGO_EVENTS['AROUND_HANDLERS'] names {path!r}, which is no function but {found!r:.80}.",
                hint="Name a function that gets a list of events and returns a context manager.",
                id="django_events.E012",
            )


def _unknown_databases_of_handlers() -> Iterator[CheckMessage]:
    from django_events.models import ProcessedEvent

    for group in handlers.declared():
        for handler in group.handlers:
            alias = handler.calling.using
            if alias is None:
                continue
            if alias not in django_settings.DATABASES:
                problem = "which is not in settings.DATABASES"
            elif not router.allow_migrate_model(alias, ProcessedEvent):
                problem = "where a router in DATABASE_ROUTERS forbids the tables of django_events"
            else:
                continue
            yield Error(
                f"Handler {handler} is declared with using={alias!r}, {problem}.",
                hint="Name a database in which `manage.py migrate --database` has made the tables of django_events.",
                id="django_events.E013",
            )


def _handlers_without_tables() -> Iterator[CheckMessage]:
    for group in handlers.declared():
        for handler in group.handlers:
            try:
                handler.require_tables()
            except SettingsError as error:
                yield Error(str(error), id="django_events.E014")


def _is_unprepared_sqlite(alias: str) -> bool:
    if alias not in settings.DATABASES or connections[alias].vendor != "sqlite":
        return False
    options = connections[alias].settings_dict.get("OPTIONS", {})
    return options.get("transaction_mode") != "IMMEDIATE" or "WAL" not in options.get("init_command", "").upper()


def _sqlite_options(alias: str) -> CheckMessage:
    return Warning(
        f"The SQLite database {alias!r} is not set up for several processes: they will meet 'database is locked'.",
        hint="Add OPTIONS = {'transaction_mode': 'IMMEDIATE', 'timeout': 20, 'init_command': "
        "'PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL'}. SQLite is for trying things out; use PostgreSQL.",
        id="django_events.W002",
    )
