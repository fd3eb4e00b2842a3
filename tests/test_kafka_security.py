"""Each way to be let in by Kafka, with right and wrong credentials, for every client that we make."""

import json
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_events import ConsumerGroup, Event, OnFailure
from django_events.consuming import letter_writer
from django_events.consuming.service import Service
from django_events.exceptions import DeliveryFailed
from django_events.kafka import topics
from django_events.kafka.consumer import Consumer
from django_events.kafka.producer import Producer
from django_events.models import DeadLetter, OutgoingEvent
from django_events.producing import courier, produce, relay
from django_events.producing.immediate import immediate
from django_events.retry import Backoff
from django_events.testing import sending
from tests.broker import Broker
from tests.fixtures import SESSION
from tests.ledger.entries import make_entry
from tests.ledger.events import EntryMade, entry_made
from tests.services.credentials import Options, Tokens, by_certificate, by_password, by_token, refused_token
from tests.services.secure_kafka import OTHER_PASSWORD, PASSWORD, SecureKafka
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.usefixtures("declarations", "transactional_db")]

MakeOptions = Callable[[SecureKafka], Options]
Use = Callable[..., None]

TOPIC, LETTERS = "ledger.entry-made", "ledger.entry-made.ward.dead-letter"

RIGHT: dict[str, MakeOptions] = {
    "PLAIN": lambda kafka: by_password(kafka, "PLAIN"),
    "SCRAM-SHA-256": lambda kafka: by_password(kafka, "SCRAM-SHA-256", lambda: PASSWORD),
    "SCRAM-SHA-512": lambda kafka: by_password(kafka, "SCRAM-SHA-512"),
    "OAUTHBEARER": lambda kafka: by_token(kafka, Tokens()),
    "TLS": by_certificate,
}

NOT_HEARD = "Failed to get metadata"
"""In what is told where the time was over before Kafka, or the machine, had come to the refusal."""

PASSWORD_AT_FAULT = "SASL authentication error.* Check 'sasl.username' and 'sasl.password' in settings.DJANGO_EVENTS"
WRONG: dict[str, tuple[MakeOptions, str]] = {
    "PLAIN": (lambda kafka: by_password(kafka, "PLAIN", OTHER_PASSWORD), PASSWORD_AT_FAULT),
    "SCRAM-SHA-256": (lambda kafka: by_password(kafka, "SCRAM-SHA-256", OTHER_PASSWORD), PASSWORD_AT_FAULT),
    "OAUTHBEARER": (
        lambda kafka: by_token(kafka, refused_token),
        "invalid_token.* Check what the function 'oauth_cb' returns",
    ),
    "a certificate of a stranger": (
        lambda kafka: by_certificate(kafka, of_stranger=True),
        "Check 'ssl.certificate.location' and 'ssl.key.location'",
    ),
    "an authority that is not the brokers'": (
        lambda kafka: by_certificate(kafka) | {"ssl.ca.location": str(kafka.stranger.certificate)},
        "certificate verify failed.* Check 'ssl.ca.location'",
    ),
    "no security at all": (
        lambda kafka: {"bootstrap.servers": kafka.sasl_address},
        "no broker keeps a connection open. .* check 'bootstrap.servers' and 'security.protocol'",
    ),
}


@pytest.fixture
def inside(secure: SecureKafka) -> Broker:
    """What the tests see in this Kafka, past its security."""
    broker = Broker(secure.address, f"t{uuid.uuid4().hex[:10]}.")
    for topic in (TOPIC, LETTERS):
        broker.create(topic)
    return broker


@pytest.fixture(autouse=True)
def no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whether it is right or wrong."""
    for name in ("django_events", "django_events.librdkafka"):
        caplog.set_level(logging.DEBUG, name)
    yield
    logged = "\n".join(map(caplog.handler.format, caplog.get_records("call")))
    for secret in (PASSWORD, OTHER_PASSWORD, "t0ken-of-nobody"):
        assert secret not in logged


@pytest.fixture
def use(inside: Broker, settings: Any) -> Use:
    """Have this process use these options."""

    def use(options: Options, producer: Options | None = None) -> None:
        settings.DJANGO_EVENTS = {
            **settings.DJANGO_EVENTS,
            "KAFKA": options,
            "KAFKA_PRODUCER": producer or {},
            "KAFKA_CONSUMER": SESSION,
            "PREFIX": inside.prefix,
        }

    return use


@pytest.fixture
def really(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """``send_now`` sends, with a producer of this test's own."""
    monkeypatch.setattr(produce, "nothing_is_sent", lambda: False)
    monkeypatch.setattr("django_events.producing.immediate.nothing_is_sent", lambda: False)
    yield
    immediate._discard()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka is given little time, and is tried again soon."""
    monkeypatch.setattr(courier, "CONNECT_WAIT", 0.6)
    monkeypatch.setattr(letter_writer, "WAIT", 0.6)
    metadata = topics.metadata
    monkeypatch.setattr(topics, "metadata", lambda admin, last_error, _timeout: metadata(admin, last_error, 0.6))
    monkeypatch.setattr(relay, "OUTAGE", Backoff(first=0.05, max=0.1))


@pytest.fixture
def ward() -> ConsumerGroup:
    """A group whose handler refuses everything."""
    group = ConsumerGroup("ward")

    @group.idempotent(entry_made, on_failure=OnFailure.SAVE, retry=False)
    def treat(event: Event[EntryMade]) -> None:
        raise ValueError("no")

    return group


@contextmanager
def consuming(group: ConsumerGroup, said: list[str] | None = None) -> Iterator[Service]:
    service = Service([group], on_change=(said if said is not None else []).append)
    service.begin()
    try:
        yield service
    finally:
        assert service.stop(120), "the group did not end"


@pytest.mark.parametrize("way", RIGHT)
def test_every_client_is_let_in(
    secure: SecureKafka, inside: Broker, use: Use, ward: ConsumerGroup, really: None, way: str
) -> None:
    use(RIGHT[way](secure))
    answer = StringIO()
    call_command("events", "topics", "--json", "--timeout=60", stdout=answer)
    states = {each["topic"]: each["state"] for each in map(json.loads, answer.getvalue().splitlines())}
    assert states[TOPIC] == "ok"
    entry_made.send_now(EntryMade("now", 1), key="now", timeout=60)
    with sending():
        make_entry("ann")
        wait_for(lambda: not OutgoingEvent.objects.exists())
    assert len({record.id for record in inside.read(TOPIC)}) == 2
    with consuming(ward):
        wait_for(lambda: DeadLetter.objects.count() == 2)


@pytest.mark.parametrize("way", WRONG)
def test_who_is_not_let_in_is_told_why_and_loses_nothing(
    secure: SecureKafka, use: Use, really: None, impatient: None, monkeypatch: pytest.MonkeyPatch, caplog: Any, way: str
) -> None:
    options, why = WRONG[way]
    use(options(secure))
    tries = count_calls(monkeypatch, Producer, "connect")
    with sending(timeout=2):
        make_entry("ann")
        wait_for(lambda: any(NOT_HEARD not in line for line in lines(caplog, "Sending events to Kafka")))
        before = len(tries)
        wait_for(lambda: len(tries) > before + 2)
        everything = lines(caplog, "Sending events to Kafka")
        told = [line for line in everything if NOT_HEARD not in line]
        assert len(told) <= 1 + len(everything) - len(told), everything
        assert all(re.search(why, line) for line in told), told
    assert [row.error for row in OutgoingEvent.objects.all()] == [None]

    def send_now() -> object:
        return entry_made.send_now(EntryMade("now", 1), key="now", timeout=0.6)

    wait_for(lambda: is_told(why, DeliveryFailed, send_now))
    wait_for(lambda: is_told(why, CommandError, lambda: call_command("events", "topics", "--timeout=0.6")))


def test_a_group_that_is_not_let_in_says_so_and_is_when_the_password_is_right(
    secure: SecureKafka,
    use: Use,
    ward: ConsumerGroup,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
) -> None:
    password = [OTHER_PASSWORD]
    use(by_password(secure, "SCRAM-SHA-512", lambda: password[0]))
    polls = count_calls(monkeypatch, Consumer, "poll")
    said: list[str] = []
    with consuming(ward, said) as service:
        wait_for(lambda: polls)
        before, started = len(polls), time.monotonic()
        told = wait_for(lambda: lines(caplog, "Kafka at "))
        wait_for(lambda: len(polls) > before + 10)
        assert len(polls) - before <= 2 * (10 * (time.monotonic() - started) + 2), "two clients, ten polls a second"
        assert re.search(f"waiting for Kafka.*({PASSWORD_AT_FAULT}|{NOT_HEARD})", said[0])
        assert all(re.search(PASSWORD_AT_FAULT, line) for line in told)
        assert len(lines(caplog, "Kafka at ")) <= 2, "one line of the group, one of its dead letters' reader"
        password[0] = PASSWORD
        service.wait_until_ready(120)


def test_a_letter_that_the_writer_may_not_write_holds_its_offset_until_it_may(
    secure: SecureKafka, inside: Broker, use: Use, ward: ConsumerGroup, impatient: None, caplog: Any
) -> None:
    right = by_password(secure, "PLAIN")
    use(right, producer={"sasl.password": OTHER_PASSWORD})
    inside.put(TOPIC, b'{"account":"ann","number":1,"hold":""}', key=b"ann", partition=0)
    with consuming(ward):
        wait_for(lambda: re.search(PASSWORD_AT_FAULT, caplog.text))
        assert not inside.committed("ward", TOPIC, 0)
        assert not inside.read(LETTERS)
        use(right)
        wait_for(lambda: DeadLetter.objects.exists())
        wait_for(lambda: inside.committed("ward", TOPIC, 0) == 1)


def test_a_token_that_ends_is_replaced_before_it_does(secure: SecureKafka, inside: Broker, use: Use) -> None:
    tokens = Tokens(seconds=2)
    use(by_token(secure, tokens))
    handled = threading.Event()
    group = ConsumerGroup("ward")
    group.idempotent(entry_made)(_setting(handled))
    with consuming(group) as service, sending():
        service.wait_until_ready(120)
        make_entry("ann")
        wait_for(handled.is_set)
        handled.clear()
        clients = tokens.given
        wait_for(lambda: tokens.given >= clients + 3)
        make_entry("ann")
        wait_for(handled.is_set)


def test_each_new_client_asks_for_the_password(secure: SecureKafka, use: Use) -> None:
    given: list[str] = []

    def password() -> str:
        given.append(PASSWORD if given else OTHER_PASSWORD)
        return given[-1]

    use(by_password(secure, "PLAIN", password))
    with pytest.raises(CommandError, match=PASSWORD_AT_FAULT):
        call_command("events", "topics", "--timeout=5")
    call_command("events", "topics", "--json", "--timeout=60", stdout=StringIO())
    assert given == [OTHER_PASSWORD, PASSWORD]


def is_told(why: str, kind: type[Exception], act: Callable[[], object]) -> bool:
    """Whether the error that is raised says why. If it does not, the time was over before that could be known."""
    with pytest.raises(kind) as raised:
        act()
    text = str(raised.value)
    assert re.search(why, text) or NOT_HEARD in text, text
    return NOT_HEARD not in text


def count_calls(monkeypatch: pytest.MonkeyPatch, kind: type, name: str) -> list[None]:
    """A list that grows with each call of this method."""
    calls: list[None] = []
    method = getattr(kind, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(None)
        return method(*args, **kwargs)

    monkeypatch.setattr(kind, name, counted)
    return calls


def lines(caplog: Any, beginning: str) -> list[str]:
    return [text for record in caplog.records if (text := record.getMessage()).startswith(beginning)]


def _setting(handled: threading.Event) -> Callable[[Event[EntryMade]], None]:
    def handle(event: Event[EntryMade]) -> None:
        handled.set()

    return handle
