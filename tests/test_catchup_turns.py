"""``catchup`` gives everybody a turn: who is late does not wait until all is sent that waited before. Where many rows
wait, it sends them in two threads."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
from django.db import OperationalError, transaction

from django_events import Topic, signals
from django_events.exceptions import BrokerUnavailable
from django_events.models import OutgoingEvent
from django_events.producing import catchup
from django_events.producing.catchup import Catchup
from django_events.producing.sender import RoundResult
from django_events.stopping import Stop
from tests.broker import Broker
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.usefixtures("declarations", "transactional_db")]

MANY = 500


def test_what_is_saved_meanwhile_does_not_wait_for_the_whole_backlog(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catchup, "LOOK_AGAIN", 0.0)
    busy, quiet = Topic("busy", dict[str, int]), Topic("quiet", dict[str, int])
    for topic in (busy, quiet):
        broker.create(topic.name)
    with transaction.atomic():
        busy.send_many([busy.event({"number": number}, key="k") for number in range(MANY)])
    sent: list[str] = []
    stop = Stop()

    def note(sender: str, **_: Any) -> None:
        sent.append(sender)
        if len(sent) == 1:
            with transaction.atomic():
                quiet.send({"number": 0}, key="k")
        if len(sent) == MANY + 1:
            stop.set()

    signals.event_sent.connect(note)
    try:
        Catchup(["default"], rows=100).run(0.01, stop)
    finally:
        signals.event_sent.disconnect(note)
    assert sent.index("quiet") < MANY - 100


KEYS = 100
ROWS = 30
"""Of each key: three rounds of all keys together."""

TOO_MANY = 100_000
"""Rounds, each in vain."""


def save(broker: Broker, name: str, rows: int = ROWS) -> None:
    """So many rows of each key."""
    topic = Topic(name, dict[str, int])
    broker.create(name, 4)
    with transaction.atomic():
        topic.send_many([topic.event({"n": n}, key=f"key-{key}") for n in range(rows) for key in range(KEYS)])


def first_deliveries(broker: Broker, name: str) -> dict[bytes | None, list[int]]:
    """The numbers of each key's events in the order of their first delivery."""
    found: dict[bytes | None, dict[int, None]] = defaultdict(dict)
    for record in broker.read(name):
        found[record.key].setdefault(record.payload["n"])
    return {key: list(numbers) for key, numbers in found.items()}


def all_in_order(rows: int = ROWS) -> dict[bytes | None, list[int]]:
    return {f"key-{key}".encode(): list(range(rows)) for key in range(KEYS)}


@contextmanager
def sending_threads() -> Iterator[set[str]]:
    """The names of the threads in which events are sent."""
    found: set[str] = set()

    def note(**_: Any) -> None:
        found.add(threading.current_thread().name)

    signals.event_sent.connect(note)
    try:
        yield found
    finally:
        signals.event_sent.disconnect(note)


def send_all(catching_up: Catchup) -> None:
    """However long Kafka takes to answer."""

    def is_sent() -> bool:
        try:
            catching_up.run_once(Stop())
        except BrokerUnavailable:
            return False
        return not OutgoingEvent.objects.exists()

    wait_for(is_sent)


def partners() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "django-events-catchup-partner"]


def test_many_rows_are_sent_in_two_threads_in_the_order_of_their_keys(broker: Broker) -> None:
    save(broker, "many")
    with sending_threads() as threads:
        send_all(Catchup(["default"]))
    assert len(threads) == 2
    assert first_deliveries(broker, "many") == all_in_order()
    assert not partners()


def test_few_rows_are_sent_in_one_thread(broker: Broker) -> None:
    save(broker, "few", rows=1)
    with sending_threads() as threads:
        send_all(Catchup(["default"]))
    assert threads == {threading.current_thread().name}


def test_without_a_second_connection_the_first_thread_sends_everything(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[object] = []

    def refuse(*_: object) -> None:
        tries.append(None)
        raise OperationalError("too many connections")

    monkeypatch.setattr(catchup, "ALONE", 3600.0)
    catching_up = Catchup(["default"])
    monkeypatch.setattr(catching_up._partners_sender, "round", refuse)
    for name in ("first", "second"):
        save(broker, name)
        with sending_threads() as threads:
            send_all(catching_up)
        assert threads == {threading.current_thread().name}
        assert first_deliveries(broker, name) == all_in_order()
    assert len(tries) == 1
    assert "has failed: too many connections. The first goes on alone for 3600 s" in caplog.text


def test_an_error_that_the_second_thread_does_not_know_is_raised(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    catching_up = Catchup(["default"])
    monkeypatch.setattr(catching_up._partners_sender, "round", fail)
    save(broker, "many")
    with pytest.raises(ZeroDivisionError):
        send_all(catching_up)
    assert OutgoingEvent.objects.exists()
    monkeypatch.undo()
    send_all(catching_up)
    assert first_deliveries(broker, "many") == all_in_order()


def test_if_the_first_thread_fails_the_second_ends(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    catching_up = Catchup(["default"])
    the_first_fails = threading.Event()
    send, rounds = catching_up._sender.round, count()

    def send_once(*arguments: Any) -> RoundResult | None:
        if not next(rounds):
            return send(*arguments)
        the_first_fails.set()
        raise OperationalError("gone")

    def go_on(*_: object) -> RoundResult:
        the_first_fails.wait(120)
        if next(partners_rounds) > TOO_MANY:
            raise AssertionError("it goes on for ever")
        return RoundResult(sent=1)

    partners_rounds = count()
    monkeypatch.setattr(catching_up._sender, "round", send_once)
    monkeypatch.setattr(catching_up._partners_sender, "round", go_on)
    save(broker, "many")
    with pytest.raises(OperationalError, match="gone"):
        wait_for(lambda: catching_up.run_once(Stop()))
    assert next(partners_rounds) < TOO_MANY
    assert not partners()
