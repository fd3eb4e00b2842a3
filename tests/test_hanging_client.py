"""Groups and readers of broadcast events go on although their client of librdkafka hangs: its threads are stopped here,
as a deadlock stops them."""

import ctypes
import json
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from django_events import ConsumerGroup, Event, Gap, Service, Topic
from django_events.consuming.limits import Limits
from django_events.exceptions import BrokerUnavailable
from django_events.following import reader as reading
from django_events.following.reader import Reader
from django_events.kafka import statistics
from django_events.kafka.consumer import Consumer
from django_events.kafka.record import Partition, ReceivedRecord
from django_events.kafka.statistics import Statistics
from tests.broker import Broker
from tests.fixtures import SESSION
from tests.refusing_kafka import RefusingKafka
from tests.waiting import wait_for

Payload = dict[str, Any]

pytestmark = pytest.mark.usefixtures("declarations")

STOPPING = textwrap.dedent(
    """
    import ctypes, errno, os, sys
    libc = ctypes.CDLL(None, use_errno=True)
    SEIZE, INTERRUPT, EVERY_KIND = 0x4206, 0x4207, 0x40000000
    for thread in map(int, sys.argv[1:]):
        for request in (SEIZE, INTERRUPT):
            if libc.ptrace(request, thread, None, None):
                if ctypes.get_errno() == errno.ESRCH:
                    break  # it has just ended, as that of a bootstrap server may
                sys.exit(os.strerror(ctypes.get_errno()))
        else:
            os.waitpid(thread, EVERY_KIND)
    print("they stand still", flush=True)
    sys.stdin.read()
    """
)
"""A program that stops single threads of another process for as long as its input is open (ptrace(2))."""

_SET_PTRACER = 0x59616D61
"""PR_SET_PTRACER (prctl(2)): for kernels with Yama."""


def threads_of_clients() -> set[int]:
    """The threads of this process in which librdkafka works for its clients."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has just ended
            if (task / "comm").read_text().startswith("rdk:"):
                found.add(int(task.name))
    return found


class Stopped:
    """These threads stand still until ``go_on``."""

    def __init__(self, threads: set[int]) -> None:
        ctypes.CDLL(None).prctl(_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)  # so that our child may, where it is asked
        self._tracer = subprocess.Popen(
            [sys.executable, "-c", STOPPING, *map(str, threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._tracer.stdout
        if not self._tracer.stdout.readline():
            self.go_on()
            pytest.skip("this machine does not let a process stop a thread of another one")

    def go_on(self) -> None:
        self._tracer.communicate()


@pytest.fixture
def quick_to_judge(monkeypatch: pytest.MonkeyPatch, settings: Any, broker: Broker) -> None:
    """Clients speak ten times a second, and count as hanging after five: one that is only slow must not. It is never
    closed, so its partitions would not be another's."""
    monkeypatch.setattr(statistics, "SILENT", 5.0)
    consumers = {**settings.DJANGO_EVENTS["KAFKA_CONSUMER"], **SESSION, "statistics.interval.ms": 100}
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA_CONSUMER": consumers}


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.usefixtures("transactional_db", "quick_to_judge")
def test_another_client_takes_the_place_of_one_that_hangs(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    broker.create("orders", partitions=1)
    group = ConsumerGroup("sales")
    handled: list[str | None] = []

    @group.exactly_once(Topic("orders", Payload))
    def bill(event: Event[Payload]) -> None:
        handled.append(event.key)

    before = threads_of_clients()
    service = Service([group], limits=Limits(commit_interval=0.1))
    with service:
        broker.put("orders", b"{}", key=b"first")
        wait_for(lambda: handled == ["first"])
        stopped = Stopped(threads_of_clients() - before)
        try:
            broker.put("orders", b"{}", key=b"second")
            wait_for(lambda: "second" in handled)
        finally:
            stopped.go_on()
    assert handled == ["first", "second"]
    assert "Group sales: its client hangs (librdkafka#5476). Another one takes its place" in caplog.text


class Keeping:
    """A feed that keeps the keys of what it gets."""

    topics = frozenset({"prices"})
    is_full = False

    def __init__(self) -> None:
        self.keys: list[bytes | None] = []

    def add(self, record: ReceivedRecord) -> None:
        self.keys.append(record.key)

    def missed(self, gap: Gap) -> None:
        raise AssertionError(f"nothing was to be missed: {gap}")


@pytest.mark.kafka
@pytest.mark.usefixtures("quick_to_judge")
def test_a_reader_of_broadcast_events_goes_on_with_another_client(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reading, "LOOK_EVERY", 3600.0)  # the client that looks stands still, too
    broker.create("prices", partitions=1)
    feed = Keeping()
    before = threads_of_clients()
    reader = Reader([feed], split_off=lambda other: other.stop(), on_change=print)
    reader.start()
    try:
        wait_for(reader.ready.is_set)
        broker.put("prices", b"{}", key=b"first")
        wait_for(lambda: feed.keys == [b"first"])
        stopped = Stopped(threads_of_clients() - before)
        try:
            broker.put("prices", b"{}", key=b"second")
            wait_for(lambda: b"second" in feed.keys)
        finally:
            stopped.go_on()
    finally:
        reader.stop()
        reader.join(60)
    assert feed.keys == [b"first", b"second"]
    assert "The reader of broadcast events has a client that hangs (librdkafka#5476)" in caplog.text


class Listening:
    """Hears of the assignment, and keeps it."""

    def __init__(self) -> None:
        self.has: set[Partition] = set()
        self.lost_at_once: list[Partition] = []

    def assigned(self, partitions: list[Partition]) -> None:
        self.has.update(partitions)

    def revoked(self, partitions: list[Partition]) -> None:
        self.has.difference_update(partitions)

    def lost(self, partitions: list[Partition]) -> None:
        self.lost_at_once += partitions
        self.revoked(partitions)


def test_what_a_hanging_client_had_is_lost_and_comes_again(
    refusing_kafka: RefusingKafka, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA_CONSUMER": SESSION}
    refusing_kafka.create("orders")
    place, listening = Partition("orders", 0), Listening()
    consumer = Consumer("sales", ["orders"], listening)
    hanging = consumer._client

    def has_it() -> bool:
        consumer.poll(0.1)
        return listening.has == {place}

    try:
        wait_for(has_it)
        consumer.pause(place)
        monkeypatch.setattr(consumer._statistics, "hangs", lambda: True)
        with monkeypatch.context() as without_token:
            without_token.setattr(Consumer, "_join", _no_token)
            consumer.poll(0)
        assert consumer._client is hanging
        consumer.poll(0)
        assert consumer._client is not hanging
        assert listening.lost_at_once == [place]
        hanging.close()  # it only seems to hang, and would stay a member
        wait_for(has_it)
    finally:
        consumer.close()
    assert "there cannot be another one yet: no token" in caplog.text


def _no_token(consumer: Consumer) -> Any:
    raise BrokerUnavailable("no token")


# ── what a client says of itself ─────────────────────────────────────────────────────────────────────────────────


class Clock:
    """The time, as the test says it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(statistics, "time", SimpleNamespace(monotonic=lambda: self.now))

    def looks(self, seconds: float, figures: Statistics) -> bool:
        """Looks every second for so long; whether the client hangs at last."""
        hangs = False
        for _ in range(int(seconds)):
            self.now += 1
            hangs = figures.hangs()
        return hangs


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_client_that_says_nothing_for_long_hangs(clock: Clock) -> None:
    figures = Statistics({}, 5000)
    assert not clock.looks(30, figures)
    figures("{}")
    assert not clock.looks(30, figures)
    assert clock.looks(1, figures)
    figures.be_patient()
    assert not clock.looks(30, figures)


def test_who_does_not_look_hears_nothing(clock: Clock) -> None:
    figures = Statistics({}, 5000)
    clock.looks(29, figures)
    clock.now += 100  # the process was frozen, or a handler of a rebalance took its time
    assert not figures.hangs()
    assert not clock.looks(6, figures), "it has a moment to speak"
    assert clock.looks(1, figures)


def test_silence_goes_on_over_looks_that_take_longer(clock: Clock) -> None:
    """As where a reader asks for its topics every ten seconds, and a broker is slow to answer."""
    figures = Statistics({}, 5000)
    hangs = []
    for _ in range(10):
        hangs.append(clock.looks(8, figures))
        clock.now += 3
    assert hangs[-1]
    assert not any(hangs[:3])


def test_a_client_that_has_missed_two_turns_is_silent(clock: Clock) -> None:
    figures = Statistics({}, 5000)
    clock.looks(11, figures)
    assert not figures.is_silent
    clock.looks(1, figures)
    silences = [figures.is_silent]
    clock.now += 3
    silences.append(figures.is_silent)  # nobody has looked
    clock.looks(1, figures)
    silences.append(figures.is_silent)
    figures("{}")
    silences.append(figures.is_silent)
    assert silences == [True, False, True, False]


@pytest.mark.parametrize(
    ("states", "reaches"),
    [
        ({1: "UP"}, True),
        ({1: "UP", 2: "DOWN"}, True),
        ({1: "DOWN", -1: "UP"}, True),  # the coordinator, whom its heartbeats go to
        ({1: "DOWN", 2: "TRY_CONNECT", -1: "INIT"}, False),
        ({}, False),
    ],
)
def test_a_client_reaches_kafka_that_is_connected_with_any_broker(
    clock: Clock, states: dict[int, str], reaches: bool
) -> None:
    figures = Statistics({}, 5000)
    assert figures.reaches_any, "it has not spoken yet"
    brokers = {str(node): {"nodeid": node, "state": state} for node, state in states.items()}
    figures(json.dumps({"brokers": brokers}))
    assert figures.reaches_any == reaches
    clock.looks(12, figures)
    assert not figures.reaches_any, "it is silent"


@pytest.mark.parametrize(("given", "interval", "patience"), [
    ({}, 5000, 30), ({"statistics.interval.ms": 0}, 5000, 30), ({"statistics.interval.ms": "60000"}, 60_000, 360),
    ({"statistics.interval.ms": 100}, 100, 30),
])  # fmt: skip
def test_the_interval_may_be_the_sites_own(clock: Clock, given: dict[str, Any], interval: int, patience: int) -> None:
    figures = Statistics(given, 5000)
    assert figures.options["statistics.interval.ms"] == interval
    assert not clock.looks(patience, figures)
    assert clock.looks(1, figures)


def test_the_figures_tell_which_leaders_are_not_reached() -> None:
    figures = Statistics({}, 5000)
    places = [Partition("orders", number) for number in range(5)]
    assert figures.cut_off(places) is None
    brokers = {"up": "UP", "down": "DOWN", "proving": "REAUTH"}
    told = {
        "brokers": {
            "bootstrap": {"nodeid": -1, "state": "UP"},
            **{name: {"nodeid": number, "state": state} for number, (name, state) in enumerate(brokers.items())},
        },
        "topics": {"orders": {"partitions": {str(n): {"broker": broker} for n, broker in enumerate([0, 1, 2, -1])}}},
    }
    figures(json.dumps(told))
    assert figures.cut_off(places) == [places[1], places[3]]


def test_the_figures_tell_where_partitions_end_and_the_site_gets_them_too(settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "PREFIX": "shop."}
    told: list[str] = []
    figures = Statistics({"stats_cb": told.append}, 5000)
    assert figures.known_end(Partition("orders", 0)) == -1
    text = '{"topics": {"shop.orders": {"partitions": {"0": {"hi_offset": 7}, "1": {"hi_offset": -1001}}}}}'
    figures(text)
    places = [("orders", 0), ("orders", 1), ("orders", 2), ("others", 0)]
    assert [figures.known_end(Partition(*place)) for place in places] == [7, -1, -1, -1]
    assert told == [text]
