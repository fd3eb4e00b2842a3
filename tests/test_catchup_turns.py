"""``catchup`` gives everybody a turn: who is late does not wait until all is sent that waited before. Where many rows
wait, it sends them in two threads."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from django.db import OperationalError, transaction

from django_events import Topic, signals
from django_events.exceptions import BrokerUnavailable
from django_events.models import LaneName, OutgoingEvent
from django_events.producing import catchup
from django_events.producing.catchup import Catchup
from django_events.producing.sender import RoundResult, Sender
from django_events.producing.turns import Turns
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

SECOND = "django-events-catchup-partner"
"""The name of the second thread."""


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
        with suppress(BrokerUnavailable):
            catching_up.run_once(Stop())
        return not OutgoingEvent.objects.exists()

    wait_for(is_sent)


def is_second() -> bool:
    """Whether this is the second thread."""
    return threading.current_thread().name == SECOND


def seconds() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == SECOND]


@pytest.fixture
def catching_up(monkeypatch: pytest.MonkeyPatch, patient_sender: None) -> Catchup:
    """One whose first thread does not go on before the second, once it is begun, has connected or failed."""
    catching_up = Catchup(["default"])
    send = Sender.round

    def round_(self: Sender, *arguments: Any) -> RoundResult | None:
        partner = catching_up._partner
        if partner and not is_second():
            wait_for(lambda: partner.is_ready or partner.error)
        return send(self, *arguments)

    monkeypatch.setattr(Sender, "round", round_)
    return catching_up


def in_second_thread(monkeypatch: pytest.MonkeyPatch, method: str, error: Exception) -> list[str]:
    """Let the second thread's sender fail in this method; how often it has."""
    act: Any = getattr(Sender, method)
    failed: list[str] = []

    def act_or_fail(self: Sender, *arguments: Any) -> Any:
        if not is_second():
            return act(self, *arguments)
        failed.append(method)
        raise error

    monkeypatch.setattr(Sender, method, act_or_fail)
    return failed


def test_many_rows_are_sent_in_two_threads_in_the_order_of_their_keys(broker: Broker, catching_up: Catchup) -> None:
    save(broker, "many")
    with sending_threads() as threads:
        assert catching_up.run_once(Stop()).sent == ROWS * KEYS
    assert threads == {threading.current_thread().name, SECOND}
    assert not OutgoingEvent.objects.exists()
    assert first_deliveries(broker, "many") == all_in_order()
    wait_for(lambda: not seconds())


def test_each_lane_is_in_one_half_only() -> None:
    lanes = [LaneName("orders", number) for number in range(15)]
    turns = Turns(lanes, "default", Stop(), until=0.0)
    half = turns.give_half()
    assert (turns.lanes_left, half.lanes_left) == (8, 7)
    turns.take_back(half)
    assert turns.lanes_left == 15


def test_few_rows_are_sent_in_one_thread(broker: Broker, catching_up: Catchup) -> None:
    save(broker, "few", rows=1)
    with sending_threads() as threads:
        send_all(catching_up)
    assert threads == {threading.current_thread().name}


def test_a_second_thread_ends_when_there_is_not_enough_for_two(broker: Broker, catching_up: Catchup) -> None:
    save(broker, "many")
    catching_up.one_pass("default", Stop())
    assert catching_up._partner
    catching_up.one_pass("default", Stop())
    assert not catching_up._partner
    wait_for(lambda: not seconds())


def test_without_a_second_connection_the_first_thread_sends_everything(
    broker: Broker, catching_up: Catchup, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(catchup, "ALONE", 3600.0)
    failed = in_second_thread(monkeypatch, "connect", OperationalError("too many connections"))
    for name in ("first", "second"):
        save(broker, name)
        with sending_threads() as threads:
            assert catching_up.run_once(Stop()).left == 0
        assert threads == {threading.current_thread().name}
        assert first_deliveries(broker, name) == all_in_order()
    assert len(failed) == 1
    assert "has failed: too many connections. The first goes on alone for 3600 s" in caplog.text


def test_what_a_second_thread_leaves_that_fails_is_sent_by_the_first(
    broker: Broker, catching_up: Catchup, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = in_second_thread(monkeypatch, "round", OperationalError("gone"))
    save(broker, "many")
    done = catching_up.run_once(Stop())
    assert (done.sent, done.left, len(failed)) == (ROWS * KEYS, 0, 1)
    assert not OutgoingEvent.objects.exists()
    assert first_deliveries(broker, "many") == all_in_order()


def test_an_error_that_the_second_thread_does_not_know_is_raised(
    broker: Broker, catching_up: Catchup, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_second_thread(monkeypatch, "round", ZeroDivisionError())
    save(broker, "many")
    with pytest.raises(ZeroDivisionError):
        catching_up.run_once(Stop())


def test_if_the_first_thread_fails_the_second_ends(
    broker: Broker, catching_up: Catchup, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Sender.round
    second_has_begun, first_has_failed = threading.Event(), threading.Event()

    def round_(self: Sender, *arguments: Any) -> RoundResult | None:
        if is_second():
            second_has_begun.set()
            assert first_has_failed.wait(120)
        elif second_has_begun.is_set() or (seconds() and arguments[-1] == catchup.LANES_OF_A_ROUND // 2):
            assert second_has_begun.wait(120)
            first_has_failed.set()
            raise OperationalError("gone")
        return send(self, *arguments)

    monkeypatch.setattr(Sender, "round", round_)
    save(broker, "many", rows=200)
    with pytest.raises(OperationalError, match="gone"):
        catching_up.run_once(Stop())
    assert OutgoingEvent.objects.count() > 140 * KEYS, "the second does not go on until all of its half is sent"
    catching_up.close()
    wait_for(lambda: not seconds())


def test_both_threads_hear_a_stop(broker: Broker, catching_up: Catchup) -> None:
    stop = Stop()

    def stop_in_second(**_: Any) -> None:
        if is_second():
            stop.set()

    save(broker, "many", rows=200)
    signals.event_sent.connect(stop_in_second)
    try:
        done = catching_up.run_once(stop)
    finally:
        signals.event_sent.disconnect(stop_in_second)
    assert done.left and OutgoingEvent.objects.count() == 200 * KEYS - done.sent
