"""Settings that are wrong, or would lose or reorder events, are refused by the check and by every client."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.core.management.base import SystemCheckError
from django.db import connections

from django_events import checks, conf
from django_events.exceptions import BrokerUnavailable
from django_events.kafka import config
from django_events.kafka.producer import Producer

KAFKA = {"bootstrap.servers": "127.0.0.1:1"}
SASL = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "site"}


def unreachable(*_given: object) -> Any:
    raise ConnectionError("the vault is away")


def found(settings: Any, **given: Any) -> dict[str, str]:
    """What the check says of these settings, by id."""
    settings.DJANGO_EVENTS = {"KAFKA": KAFKA, "SOURCE": "tests", **given}
    return {str(each.id): each.msg for each in checks.check_settings(None)}


def test_the_test_project_has_no_findings() -> None:
    assert checks.check_settings(None) == []
    assert checks.check_declarations(None) == []
    assert checks.check_databases(None) == []
    assert checks.check_sqlite(None) == []


@pytest.mark.parametrize(
    ("given", "check", "text"),
    [
        ({"KAFFKA": {}}, "E001", "no setting named 'KAFFKA'"),
        ({"KAFKA": "broker:9092"}, "E002", "['KAFKA'] must be a dict, not a str"),
        ({"SOURCE": 5}, "E002", "['SOURCE'] must be a text"),
        ({"DATABASES": "default"}, "E002", "must be a list of database aliases such as ['default']"),
        ({"SEND_AFTER_COMMIT": "yes"}, "E002", "must be True or False"),
        ({"EXIT_TIMEOUT": "2"}, "E002", "must be a number of seconds"),
        ({"EXIT_TIMEOUT": float("inf")}, "E002", "must be a number of seconds"),
        ({"KAFKA": {}}, "W003", "names no broker"),
        ({"PROCESSED_RETENTION": 30}, "E002", "['PROCESSED_RETENTION'] must be a datetime.timedelta above 0 and up to"),
        ({"PROCESSED_RETENTION": timedelta(0)}, "E002", "or None, not datetime.timedelta(0)"),
        ({"PROCESSED_RETENTION": timedelta.max}, "E002", "up to 36,500 days"),
        ({"DATABASES": ["other"]}, "E004", "names 'other', which is not in settings.DATABASES"),
        ({"SOURCE": ""}, "W001", "SOURCE"),
        ({"PREFIX": "a b"}, "E003", "PREFIX"),
    ],
)
def test_wrong_settings(settings: Any, given: dict[str, Any], check: str, text: str) -> None:
    assert text in found(settings, **given)[f"django_events.{check}"]


@pytest.mark.parametrize(
    "options",
    [
        {"acks": 1},
        {"request.required.acks": "0"},
        {"enable.idempotence": False},
        {"enable.idempotence": "false"},
        {"message.timeout.ms": 300_000},
        {"delivery.timeout.ms": 120_000},
        {"retries": 3},
        {"message.send.max.retries": 0},
        {"max.in.flight": 100},
        {"max.in.flight.requests.per.connection": 6},
        {"transactional.id": "x"},
        {"enable.gapless.guarantee": False},
        {"enable.auto.commit": True},
        {"auto.commit.enable": "true"},
        {"enable.auto.offset.store": True},
        {"isolation.level": "read_uncommitted"},
        {"auto.offset.reset": "latest"},
        {"auto.offset.reset": "error"},
        {"group.id": "mine"},
        {"message.max.bytes": 1000},
        {"partitioner": "random"},
        {"default.topic.config": {"message.timeout.ms": 1000}},
        {5: 1},
        {"bootstrap.servers": "a:1", "metadata.broker.list": "b:1"},
    ],
)
def test_options_that_lose_or_reorder_are_refused_by_the_check_and_by_each_client(
    settings: Any, options: dict[str, Any]
) -> None:
    text = found(settings, KAFKA={**KAFKA, **options})["django_events.E003"]
    assert str(list(options)[-1]) in text
    builds = (config.producer_options, config.letter_producer_options, config.admin_options)
    for build in (*builds, lambda: config.consumer_options("g")):
        with pytest.raises(ImproperlyConfigured):
            build()


@pytest.mark.parametrize("options", [{"no.such": 1}, {"compression.type": "zip"}, {"linger.ms": "soon"}])
def test_options_that_librdkafka_does_not_take_are_refused_by_the_check_and_by_the_client(
    settings: Any, options: dict[str, Any]
) -> None:
    assert "librdkafka does not take" in found(settings, KAFKA={**KAFKA, **options})["django_events.E003"]
    with pytest.raises(ImproperlyConfigured, match="Correct or remove it"):
        Producer(config.producer_options())


@pytest.mark.parametrize("setting", ["KAFKA_PRODUCER", "KAFKA_CONSUMER"])
def test_overrides_are_checked_too(settings: Any, setting: str) -> None:
    assert setting in found(settings, **{setting: {"acks": 1}})["django_events.E003"]


@pytest.mark.parametrize(
    "options",
    [
        {"acks": "all"},
        {"acks": -1},
        {"enable.idempotence": "True"},
        {"message.timeout.ms": 0},
        {"max.in.flight": "5"},
        {"enable.auto.commit": "false"},
        {"linger.ms": 100},
        {**SASL, "sasl.password": "secret"},
        {**SASL, "sasl.password": lambda: "secret"},
        {**SASL, "sasl.password": unreachable},
        {**SASL, "sasl.username": lambda: "site", "sasl.password": lambda: "secret"},
        {**SASL, "security.protocol": lambda: "SASL_SSL", "sasl.password": "secret"},
        {"security.protocol": "sasl_ssl", "sasl.mechanism": "OAUTHBEARER", "oauth_cb": unreachable},
        {"security.protocol": "ssl", "ssl.key.password": 5},
    ],
)
def test_harmless_options_are_taken(settings: Any, options: dict[str, Any]) -> None:
    assert found(settings, KAFKA={**KAFKA, **options}) == {}


def test_values_may_be_functions_and_overrides_win(settings: Any) -> None:
    found(settings, KAFKA={**KAFKA, "statistics.interval.ms": lambda: 5}, KAFKA_PRODUCER={"linger.ms": 7})
    assert config.producer_options()["statistics.interval.ms"] == 5
    assert config.producer_options()["linger.ms"] == 7
    assert "linger.ms" not in config.consumer_options("g")


def test_the_consumer_protocol_takes_nothing_that_the_broker_decides(settings: Any) -> None:
    assert found(settings, KAFKA_CONSUMER={"group.protocol": "consumer", "group.instance.id": lambda: "pod-1"}) == {}
    options = config.consumer_options("g")
    assert "partition.assignment.strategy" not in options
    assert options["group.instance.id"] == "pod-1"


@pytest.mark.parametrize("name", ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"])
@pytest.mark.parametrize("setting", ["KAFKA", "KAFKA_CONSUMER"])
def test_what_the_broker_decides_is_refused_with_the_consumer_protocol(settings: Any, setting: str, name: str) -> None:
    given = {"bootstrap.servers": "localhost:1", "group.protocol": "consumer"}
    given[name] = "range" if "strategy" in name else "5000"
    text = found(settings, **{setting: given})["django_events.E003"]
    assert f"`{name}` is not supported for `group.protocol=consumer`" in text


def test_a_function_cannot_smuggle_in_what_is_refused(settings: Any) -> None:
    found(settings, KAFKA={**KAFKA, "retries": lambda: 1})
    with pytest.raises(ImproperlyConfigured, match="'retries'.* is 1, but limited retries give events up"):
        config.producer_options()


def test_no_broker_is_named(settings: Any) -> None:
    found(settings, KAFKA={})
    with pytest.raises(ImproperlyConfigured, match=r"names no broker\. Set 'bootstrap\.servers'"):
        Producer(config.producer_options())


@pytest.mark.parametrize("given", [["KAFKA"], {"DATABASES": "default"}])
def test_checks_never_fail_themselves(settings: Any, given: Any) -> None:
    settings.DJANGO_EVENTS = given
    with pytest.raises(SystemCheckError, match="settings.DJANGO_EVENTS"):
        call_command("check")


@pytest.mark.django_db
def test_no_check_of_migrate_demands_more_apps_than_ours() -> None:
    """Django 6.1 would have a site install django.contrib.postgres for an index by hash."""
    call_command("check", databases=["default"])


def test_settings_that_are_no_dict(settings: Any) -> None:
    settings.DJANGO_EVENTS = ["KAFKA"]
    (error,) = checks.check_settings(None)
    assert "must be a dict" in error.msg
    with pytest.raises(ImproperlyConfigured, match="must be a dict"):
        _ = conf.settings.PREFIX


def test_times_without_time_zone_are_an_error(settings: Any) -> None:
    assert not checks.check_time_zones(None)
    settings.USE_TZ = False
    (error,) = checks.check_time_zones(None)
    assert error.id == "django_events.E010"


def test_every_setting_is_documented_with_its_default() -> None:
    assert conf.names() == {
        *("KAFKA", "KAFKA_PRODUCER", "KAFKA_CONSUMER", "SOURCE", "PREFIX", "DATABASES", "SEND_AFTER_COMMIT"),
        *("REQUIRE_TRANSACTION", "AUTO_CREATE_TOPICS", "REQUIRE_DECLARED_TOPICS", "EXIT_TIMEOUT", "REDACT"),
        *("AROUND_HANDLERS", "PROCESSED_RETENTION", "START_BROADCAST", "BROADCAST_HEARTBEAT"),
    }


def test_sqlite_that_is_not_prepared_for_several_processes(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import connection

    if connection.vendor != "sqlite":
        pytest.skip("the database is not SQLite")
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {})
    (warning,) = checks.check_sqlite(None)
    assert warning.id == "django_events.W002"


@pytest.mark.parametrize(
    ("command", "arguments", "text"),
    [
        ("catchup", ["--interval=0"], "is not a number of seconds above 0"),
        ("catchup", ["--interval=soon"], "'soon' is not a number of seconds"),
        ("catchup", ["--batch-size=0"], "is not a whole number from 1"),
        ("catchup", ["--database=other"], "No outbox in database other"),
        ("consume", ["nobody"], "No consumer group is named nobody"),
        ("consume", ["--shutdown-timeout=-1"], "is not a number of seconds"),
    ],
)
def test_commands_say_what_is_wrong_with_their_arguments(command: str, arguments: list[str], text: str) -> None:
    with pytest.raises(CommandError, match=text):
        call_command(command, *arguments)


class Nowhere:
    """A router that has the tables of django_events in no database but ``events``, and writes them there."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return db == "events" if app_label == "django_events" else None

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return "events" if model._meta.app_label == "django_events" else None


def databases_found(settings: Any) -> dict[str, str]:
    return {str(each.id): each.msg for each in checks.check_databases(None)}


def test_a_replica_has_no_outbox(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    replica = {**settings.DATABASES["default"], "TEST": {"MIRROR": "default"}}
    monkeypatch.setitem(settings.DATABASES, "replica", replica)
    assert databases_found(settings) == {}
    settings.DJANGO_EVENTS = {"DATABASES": ["default", "replica"]}
    assert "names 'replica', which is a replica of 'default'" in databases_found(settings)["django_events.E008"]


def test_a_database_without_our_tables_has_no_outbox(settings: Any) -> None:
    settings.DATABASE_ROUTERS = ["tests.test_settings.Nowhere"]
    found = databases_found(settings)
    assert "names 'default', but a router in DATABASE_ROUTERS forbids the tables" in found["django_events.E009"]
    assert "Events go to the database 'events' unless send() says using=" in found["django_events.W004"]


def test_a_database_of_another_kind_has_no_outbox(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections["default"], "vendor", "mysql")
    found = databases_found(settings)
    assert [*found] == ["django_events.E016"]
    assert "names 'default', whose database is mysql: an outbox needs PostgreSQL" in found["django_events.E016"]


@pytest.mark.parametrize("given", [["KAFKA"], {"DATABASES": "default"}, {"DATABASES": ["unknown"]}])
def test_what_other_checks_say_is_not_said_again(settings: Any, given: Any) -> None:
    settings.DJANGO_EVENTS = given
    assert not [each for each in checks.check_databases(None) if each.id != "django_events.W004"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"sasl.password": "secret"}, "['sasl.password'] has no effect, because 'security.protocol' is 'plaintext'"),
        ({**SASL, "security.protocol": "ssl"}, "Set that to 'SASL_SSL', or to 'SASL_PLAINTEXT'"),
        ({"ssl.ca.location": "/ca.crt"}, "['ssl.ca.location'] has no effect"),
        ({**SASL, "security.protocol": "sasl_plaintext", "ssl.ca.location": "/ca.crt"}, "Set that to 'SASL_SSL'"),
        ({**SASL, "sasl.password": b"secret"}, "['sasl.password'] must be a text, not a bytes"),
        ({**SASL, "sasl.password": None}, "['sasl.password'] must be a text, not a NoneType"),
        ({"security.protocol": "sasl_ssl", "sasl.mechanism": "oauthbearer"}, "nothing gives tokens. Set 'oauth_cb'"),
        ({**SASL, "sasl.password": "x", "sasl.mechanisms": "PLAIN"}, "is the same option as 'sasl.mechanism'"),
    ],
)
def test_security_that_would_not_be_what_it_seems(settings: Any, options: dict[str, Any], text: str) -> None:
    assert text in found(settings, KAFKA={**KAFKA, **options})["django_events.E003"]
    with pytest.raises(ImproperlyConfigured):
        config.producer_options()


def risks(settings: Any, **given: Any) -> dict[str, str]:
    """What the check before a deployment says of these settings, by id."""
    settings.DJANGO_EVENTS = {"KAFKA": KAFKA, "SOURCE": "tests", **given}
    return {str(each.id): each.msg for each in checks.check_security(None)}


TLS = {"bootstrap.servers": "kafka1:9093", "security.protocol": "SASL_SSL"}


@pytest.mark.parametrize(
    ("options", "check", "text"),
    [
        ({**TLS, "enable.ssl.certificate.verification": False}, "W005", "'enable.ssl.certificate.verification'"),
        ({**TLS, "enable.ssl.certificate.verification": "False"}, "W005", "anybody's certificate"),
        ({**TLS, "ssl.endpoint.identification.algorithm": "none"}, "W005", "'ssl.endpoint.identification.algorithm'"),
        ({"bootstrap.servers": "kafka1:9092, localhost:9092,10.0.0.7"}, "W006", "talk to kafka1, 10.0.0.7 in plain"),
        ({"metadata.broker.list": "PLAINTEXT://[fd00::7]:9092"}, "W006", "talk to fd00::7 in plain text"),
        ({**TLS, "security.protocol": "sasl_plaintext"}, "W006", "read passwords"),
        ({**TLS, "debug": "broker, conf"}, "W007", "'debug'"),
        ({**TLS, "debug": "all"}, "W007", "'debug'"),
    ],
)
def test_what_is_for_trying_things_out_is_told_before_a_deployment(
    settings: Any, options: dict[str, Any], check: str, text: str
) -> None:
    found = risks(settings, KAFKA=options)
    assert [*found] == [f"django_events.{check}"]
    assert text in found[f"django_events.{check}"]


@pytest.mark.parametrize(
    "options",
    [
        {"bootstrap.servers": "localhost:9092,127.0.0.1:9092,[::1]:9092,"},
        {"bootstrap.servers": lambda: "kafka1:9092"},
        {**TLS, "enable.ssl.certificate.verification": True, "ssl.endpoint.identification.algorithm": "https"},
        {**TLS, "security.protocol": lambda: "SASL_SSL", "debug": lambda: "all"},
        {**TLS, "debug": "broker,topic"},
        {5: 1},
    ],
)
def test_what_is_safe_or_not_known_is_no_risk(settings: Any, options: dict[str, Any]) -> None:
    assert risks(settings, KAFKA=options) == {}


def test_options_of_one_kind_of_client_are_looked_at_too(settings: Any) -> None:
    assert [*risks(settings, KAFKA=TLS, KAFKA_CONSUMER={"debug": "security"})] == ["django_events.W007"]
    assert risks(settings, KAFKA="broker:9092") == {}  # E002 says it


def test_risks_are_told_with_deploy_only(settings: Any) -> None:
    settings.DJANGO_EVENTS = {"KAFKA": {"bootstrap.servers": "kafka1:9092"}, "SOURCE": "tests"}
    assert "django_events.W006" not in {each.id for each in run_checks()}
    assert "django_events.W006" in {each.id for each in run_checks(include_deployment_checks=True)}


def test_a_function_that_raises_is_waited_out(settings: Any) -> None:
    found(settings, KAFKA={**KAFKA, **SASL, "sasl.password": unreachable})
    with pytest.raises(BrokerUnavailable, match="'sasl.password' .* raised ConnectionError: the vault is away"):
        config.producer_options()


def by_token(ask: Any) -> dict[str, Any]:
    return {**KAFKA, "security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER", "oauth_cb": ask}


def test_no_oauth_token(settings: Any) -> None:
    found(settings, KAFKA=by_token(unreachable))
    with pytest.raises(BrokerUnavailable, match="'oauth_cb'. raised ConnectionError: the vault is away"):
        Producer(config.producer_options())


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("s3cret", "it returned a str. Return (token, seconds since 1970)"),
        (("s3cret", "soon"), r"it returned (str, str)"),
        (("s3cret", 5), "has ended already"),
        (("s3cret",), "it returned a tuple"),
    ],
)
def test_what_is_no_oauth_token(settings: Any, answer: Any, text: str) -> None:
    found(settings, KAFKA=by_token(lambda _config: answer))
    with pytest.raises(ImproperlyConfigured, match=re.escape(text)) as raised:
        Producer(config.producer_options())
    assert "s3cret" not in str(raised.value)


def test_an_oauth_function_that_is_none(settings: Any) -> None:
    found(settings, KAFKA=by_token("s3cret"))
    with pytest.raises(ImproperlyConfigured, match="must be a function"):
        Producer(config.producer_options())
