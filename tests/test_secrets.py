"""No password, token or private key appears in what people and logs see, however wrong the settings are."""

import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.test import RequestFactory
from django.urls import reverse
from django.views.debug import ExceptionReporter, technical_500_response

from django_events import health
from django_events.conf import settings as ours
from django_events.consuming.service import Service
from django_events.handlers import ConsumerGroup
from django_events.kafka import config, topics
from django_events.kafka.consumer import Consumer
from django_events.kafka.producer import Producer
from django_events.producing.immediate import immediate
from django_events.status import gathering
from tests.ledger.entries import make_entry
from tests.ledger.events import entry_made
from tests.waiting import wait_for

CANARY = "c4nary"
USER = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "site"}
NOWHERE = {"bootstrap.servers": "127.0.0.1:1"}
KEY = f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n"

WAITING: dict[str, dict[str, Any]] = {
    "password": {**USER, "sasl.password": CANARY},
    "function": {**USER, "sasl.password": lambda: CANARY},
    "token": {**USER, "sasl.mechanism": "OAUTHBEARER", "oauth_cb": lambda _config: (CANARY, 9e9)},
    "all of librdkafka's debugging": {**USER, "sasl.password": CANARY, "debug": "all"},
}
"""Options that are right, but for a Kafka that is not there."""

REFUSED: dict[str, Any] = {
    "misspelt": {**USER, "sasl.pasword": CANARY},
    "bytes": {**USER, "sasl.password": CANARY.encode()},
    "list": {**USER, "sasl.password": [CANARY]},
    "function of bytes": {**USER, "sasl.password": lambda: CANARY.encode()},
    "no protocol": {"sasl.password": CANARY},
    "private key": {"security.protocol": "SSL", "ssl.key.pem": KEY},
    "private key as a certificate": {"security.protocol": "SSL", "ssl.certificate.pem": KEY},
    "token without end": {**USER, "sasl.mechanism": "OAUTHBEARER", "oauth_cb": lambda _config: CANARY},
    "token that has ended": {**USER, "sasl.mechanism": "OAUTHBEARER", "oauth_cb": lambda _config: (CANARY, 5)},
    "token in place of a function": {**USER, "sasl.mechanism": "OAUTHBEARER", "oauth_cb": CANARY},
    "another option is wrong": {**USER, "sasl.password": CANARY, "acks": 0},
    "pairs": [("sasl.password", CANARY)],
    "text": f"sasl.password={CANARY}",
}
"""Options that cannot be used."""


@pytest.fixture
def use(settings: Any, caplog: Any) -> Callable[[Any], None]:
    caplog.set_level(logging.DEBUG)
    for name in ("django_events", "django_events.librdkafka"):
        caplog.set_level(logging.DEBUG, name)

    def use(options: Any) -> None:
        kafka = {**NOWHERE, **options} if isinstance(options, dict) else options
        settings.DJANGO_EVENTS = {"SOURCE": "tests", "KAFKA": kafka}

    return use


@pytest.fixture
def seen(caplog: Any, capfd: Any) -> Iterator[Callable[[], str]]:
    """All that was written since the last look, and all that the test has logged, with tracebacks. Each look, and one
    after the test, looks for the secret."""

    def seen() -> str:
        out, err = capfd.readouterr()
        # Of the test itself: after it, caplog.text has only what is logged while it is cleared up.
        text = "\n".join([out, err, *map(caplog.handler.format, caplog.get_records("call"))])
        assert CANARY not in text
        return text

    yield seen
    seen()


def run(*arguments: str) -> None:
    """A command, and the error that it ends with, as ``manage.py --traceback`` shows both."""
    try:
        call_command(*arguments)
    except (Exception, SystemExit):
        logging.getLogger("django_events.tests").exception("The command %s failed", arguments)


COMMANDS = [
    ("check",),
    ("catchup", "--once"),
    ("events", "status", "--timeout=0.3"),
    ("events", "status", "--json", "--timeout=0.3"),
    ("events", "topics", "--timeout=0.3"),
    ("events", "dead-letters", "list"),
    ("events", "dead-letters", "rebuild", "ledger"),
    ("events", "groups", "--timeout=0.3"),
    ("events", "groups", "--reset=ledger", "--to=latest", "--yes", "--timeout=0.3"),
    ("events", "replay", "--group=ledger", "--handler=book", "--topic=ledger.entry-made", "--timeout=0.3"),
    ("events", "prune"),
    ("consume", "--list"),
    ("consume", "--list", "--json"),
]


@pytest.mark.parametrize("options", [*WAITING, *REFUSED])
@pytest.mark.django_db(transaction=True)
def test_commands(
    use: Callable[[Any], None], seen: Callable[[], str], monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    monkeypatch.setattr("django_events.producing.courier.CONNECT_WAIT", 0.3)
    monkeypatch.setattr("django_events.kafka.whole_topics.WAIT", 0.3)
    monkeypatch.setattr("django_events.consuming.pruning.WAIT", 0.3)
    make_entry("ann")
    use({**WAITING, **REFUSED}[options])
    for command in COMMANDS:
        run(*command)
    assert "failed" in seen()


@pytest.mark.parametrize("options", [*WAITING, *REFUSED])
@pytest.mark.django_db(transaction=True)
def test_consuming(
    use: Callable[[Any], None],
    seen: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    declarations: None,
    options: str,
) -> None:
    group = ConsumerGroup("ward")
    group.idempotent(entry_made)(_handle)
    metadata = topics.metadata
    monkeypatch.setattr(topics, "metadata", lambda admin, last_error, _timeout: metadata(admin, last_error, 0.3))
    use({**WAITING, **REFUSED}[options])
    if options in REFUSED:
        run("consume", "ward")
        assert "failed" in seen()
        return
    polls: list[None] = []
    poll = Consumer.poll
    monkeypatch.setattr(Consumer, "poll", lambda *given: polls.append(None) or poll(*given))  # type: ignore[func-returns-value]
    service = Service([group])
    service.begin()
    wait_for(lambda: len(polls) > 3)
    assert CANARY not in health.ready(RequestFactory().get("/readyz"), kafka=True).content.decode()
    assert service.stop(120)


@pytest.mark.parametrize("options", [*WAITING, *REFUSED])
def test_reports_of_errors_show_none(use: Callable[[Any], None], settings: Any, options: str) -> None:
    use({**WAITING, **REFUSED}[options])
    for action in (send_now, make_producer, make_consumer, read_settings):
        report = report_of(action)
        if report:
            data = report.get_traceback_data()
            assert CANARY not in str(data.get("frames")) + str(data["exception_value"])


@pytest.mark.parametrize("options", [*WAITING, "private key"])
def test_djangos_debug_page_hides_options_of_the_right_name(
    use: Callable[[Any], None], settings: Any, options: str
) -> None:
    use({**WAITING, **REFUSED}[options] | {"acks": 0})
    settings.DEBUG = True
    page = page_of(make_producer)
    assert "sasl.mechanism" in page or "ssl.key.pem" in page
    assert CANARY not in page


@pytest.mark.parametrize("options", [*WAITING, *REFUSED])
def test_pages_of_the_admin(
    use: Callable[[Any], None], seen: Callable[[], str], admin_client: Any, options: str
) -> None:
    use({**WAITING, **REFUSED}[options])
    for name in ("outgoingevent", "deadletter", "processedevent"):
        page = admin_client.get(reverse(f"admin:django_events_{name}_changelist"))
        assert page.status_code == 200
        assert CANARY not in page.content.decode()


@pytest.mark.parametrize("options", [*WAITING, *REFUSED])
def test_the_page_of_the_status(
    use: Callable[[Any], None],
    seen: Callable[[], str],
    admin_client: Any,
    monkeypatch: pytest.MonkeyPatch,
    options: str,
) -> None:
    """It asks Kafka."""
    monkeypatch.setattr(gathering.gather, "__defaults__", (0.2,))
    admin_client.raise_request_exception = False  # some settings are an error of the page
    use({**WAITING, **REFUSED}[options])
    page = admin_client.get(reverse("admin:django_events_process_changelist"))
    assert page.status_code == 200 or options in REFUSED
    assert CANARY not in page.content.decode()


def test_options_show_no_secret(use: Callable[[Any], None]) -> None:
    use({**WAITING["function"], "ssl.key.password": CANARY, "security.protocol": "SASL_SSL"})
    for options in (config.producer_options(), config.consumer_options("ward"), config.admin_options()):
        assert "<hidden>" in repr(options)
        assert CANARY not in repr(options) + str(options)
    assert CANARY not in repr(vars(Producer(config.producer_options())))


def send_now() -> None:
    immediate.send([("ledger.entry-made", b"ann", b"{}", [])], 0.3)  # type: ignore[list-item]


def make_producer() -> None:
    Producer(config.producer_options()).connect(0.3)


def make_consumer() -> None:
    class Nobody:
        assigned = revoked = lost = staticmethod(lambda partitions: None)

    Consumer("ward", ["ledger.entry-made"], Nobody())


def read_settings() -> None:
    ours.KAFKA  # noqa: B018


def report_of(action: Callable[[], None]) -> ExceptionReporter | None:
    """What Django, with DEBUG, tells of the error that this action ends with."""
    try:
        action()
    except Exception:
        return ExceptionReporter(RequestFactory().get("/"), *sys.exc_info())
    return None


def page_of(action: Callable[[], None]) -> str:
    try:
        action()
    except Exception:
        return technical_500_response(RequestFactory().get("/"), *sys.exc_info()).content.decode()
    raise AssertionError("no error")


def _handle(event: object) -> None:
    """Handles nothing."""
