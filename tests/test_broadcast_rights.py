"""A topic that Kafka does not let us read: nobody says that it has begun, nothing old is read, and gaps are told."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, cast

import pytest
from confluent_kafka.admin import AclOperation

from django_events import Event, Gap, broadcast, broadcasting
from django_events.consuming.broadcast import Broadcast
from django_events.exceptions import KafkaRefused
from django_events.following import discovery, reader
from django_events.following import hub as hub_module
from django_events.following.change import Change, Place
from django_events.kafka import topics
from django_events.kafka.following import TopicInKafka
from django_events.kafka.record import Partition
from django_events.testing import sending
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_closed, entry_made
from tests.waiting import wait_for

TOPIC, OTHER = "ledger.entry-made", "ledger.entry-closed"
FIRST, SECOND = Partition(TOPIC, 0), Partition(TOPIC, 1)
NO = KafkaRefused("no")
MADE = TopicInKafka("a", frozenset([FIRST]))

RIGHTS = {"nothing": (), "only describe": (AclOperation.DESCRIBE,)}


# ── what is to be read ───────────────────────────────────────────────────────────────────────────────────────────────


def looked(place: Place, now: Any, **ends: tuple[int, int]) -> Change:
    change = Change(place, [])
    change.look_at(TOPIC, now)
    change.find_offsets({FIRST: ends.get("first", (0, 0)), SECOND: ends.get("second", (0, 0))})
    return change


def test_a_topic_that_was_never_shown_is_read_from_its_end_and_what_was_before_is_a_gap() -> None:
    hidden = looked(Place({}, {}), NO)
    assert not hidden.changes_anything
    both = TopicInKafka("a", frozenset([FIRST, SECOND]))
    shown = looked(hidden.place.copy(), both, first=(2, 7))
    assert shown.place.offsets == {FIRST: 7, SECOND: 0}
    assert shown.gaps == [Gap(topic=TOPIC, partition=0, start=0, end=7)]  # in the other one there was never anything
    assert looked(shown.place, both).gaps == []


def test_a_topic_that_is_hidden_for_a_while_is_read_on_where_it_was() -> None:
    begun = looked(Place({}, {}), MADE, first=(0, 5)).place
    hidden = looked(begun, NO)
    again = looked(hidden.place, TopicInKafka("a", frozenset([FIRST, SECOND])), first=(0, 9), second=(0, 3))
    assert again.place.offsets == {FIRST: 5, SECOND: 0}
    assert again.gaps == []


def test_a_topic_that_was_not_there_and_then_hidden_is_new_from_its_first_record() -> None:
    absent = looked(Place({}, {}), None)
    hidden = looked(absent.place, NO)
    shown = looked(hidden.place, MADE, first=(0, 4))
    assert (shown.place.offsets, shown.gaps) == ({FIRST: 0}, [])


class Showing:
    """A Kafka that shows some topics, each partition with its oldest record and its end, and what is read of it."""

    def __init__(self) -> None:
        self.shown: dict[str, Any] = {TOPIC: MADE}
        self.read: list[dict[Partition, int]] = []

    def look(self, wanted: Any) -> dict[str, Any]:
        return self.shown

    def ends(self, partitions: Collection[Partition]) -> dict[Partition, tuple[int, int]]:
        return dict.fromkeys(partitions, (0, 5))

    def assign(self, offsets: Mapping[Partition, int]) -> None:
        self.read.append(dict(offsets))


class Wanting:
    topics = (TOPIC,)
    is_full = False


def test_a_topic_that_is_not_shown_when_a_record_is_missed_is_read_on_when_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """librdkafka reads the partition no more until it is told to."""
    monkeypatch.setattr(topics, "create_missing", lambda *_, **__: frozenset())
    kafka = Showing()
    reading = reader.Reader([cast(Any, Wanting())], lambda _: None, lambda _: None)
    reading._look(cast(Any, kafka))
    reading._not_there(FIRST)
    kafka.shown = {}
    reading._look(cast(Any, kafka))
    assert kafka.read == [{FIRST: 5}]
    kafka.shown = {TOPIC: MADE}
    reading._look(cast(Any, kafka))
    reading._look(cast(Any, kafka))
    assert kafka.read == [{FIRST: 5}, {FIRST: 5}]


class Both:
    topics = (TOPIC, OTHER)
    is_full = False


LEADERLESS = Partition(OTHER, 0)


class Lacking:
    """A Kafka in which one of two topics has a partition without leader for the first questions about its end."""

    def __init__(self, questions: float) -> None:
        self.questions = questions
        self.read: list[dict[Partition, int]] = []

    def look(self, wanted: Any) -> dict[str, Any]:
        return {TOPIC: MADE, OTHER: TopicInKafka("b", frozenset([LEADERLESS]))}

    def ends(self, partitions: Collection[Partition]) -> dict[Partition, tuple[int, int]]:
        if LEADERLESS in partitions and self.questions > 0:
            self.questions -= 1
            raise NO
        return dict.fromkeys(partitions, (0, 5))

    def assign(self, offsets: Mapping[Partition, int]) -> None:
        self.read.append(dict(offsets))


def test_a_topic_with_a_leaderless_partition_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is read once Kafka tells where it ends; what was before that is missed."""
    monkeypatch.setattr(topics, "create_missing", lambda *_, **__: frozenset())
    monkeypatch.setattr(discovery, "SHOWN", 0.0)
    kafka = Lacking(float("inf"))
    missed: list[Gap] = []
    feed = Both()
    feed.missed = missed.append  # type: ignore[attr-defined]
    reading = reader.Reader([cast(Any, feed)], lambda _: None, lambda _: None)
    for _ in range(2):
        reading._look(cast(Any, kafka))
        assert kafka.read == [{FIRST: 5}]
        assert reading.refused == {OTHER: NO}
        assert not reading.ready.is_set()
    kafka.questions = 0
    reading._look(cast(Any, kafka))
    assert kafka.read[1:] == [{FIRST: 5, LEADERLESS: 5}]
    assert missed == [Gap(topic=OTHER, partition=0, start=0, end=5)]
    assert reading.ready.is_set()
    assert caplog.text.count(f"does without topic {OTHER} for now: no") == 1


def test_a_new_topic_whose_partitions_get_their_leaders_soon_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(topics, "create_missing", lambda *_, **__: frozenset())
    monkeypatch.setattr(discovery, "SHOWN", 60.0)
    kafka = Lacking(5)
    reading = reader.Reader([cast(Any, Both())], lambda _: None, lambda _: None)
    reading._look(cast(Any, kafka))
    assert kafka.read == [{FIRST: 5, LEADERLESS: 5}]
    assert reading.ready.is_set()
    assert not caplog.text


# ── on real Kafka ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, settings: Any, fragile: Broker) -> None:
    monkeypatch.setattr(reader, "LOOK_EVERY", 0.2)
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "BROADCAST_HEARTBEAT": 0.5}


@pytest.fixture
def guarded(fragile: Broker, quick: None, declarations: None) -> Iterator[Broker]:
    """Two topics; rights are given back at the end."""
    wait_for(lambda: topics.create_missing([TOPIC, OTHER], timeout=60) == {TOPIC, OTHER})
    yield fragile
    fragile.unrestrict(TOPIC)


def put(broker: Broker, number: int, topic: str = TOPIC) -> None:
    broker.put(topic, b'{"account":"a","number":%d}' % number, key=b"ann", partition=0)


def noting(topic: Any, name: str, **options: Any) -> list[int]:
    seen: list[int] = []

    @broadcast(topic, name=name, **options)
    def note(event: Event[EntryMade]) -> None:
        seen.append(event.payload.number)

    return seen


@pytest.mark.kafka
@pytest.mark.parametrize("rights", RIGHTS)
def test_while_a_topic_may_not_be_read_nobody_says_that_all_has_begun(guarded: Broker, rights: str) -> None:
    gaps: list[Gap] = []
    seen, others = noting(entry_made, "note", on_gap=gaps.append), noting(entry_closed, "other")
    put(guarded, 1)
    guarded.restrict(TOPIC, *RIGHTS[rights])
    broadcast_ = Broadcast(broadcasting.declared())
    broadcast_.start()
    try:
        wait_for(lambda: f"{guarded.prefix}{TOPIC}" in broadcast_.missing)
        wait_for(lambda: broadcast_.is_live("other"))
        assert not broadcast_.is_live("note") and not broadcast_.wait_until_ready(0)
        put(guarded, 10, OTHER)
        wait_for(lambda: others == [10])
        guarded.unrestrict(TOPIC)
        assert broadcast_.wait_until_ready(60) and not broadcast_.missing
        put(guarded, 2)
        wait_for(lambda: seen == [2])
        assert gaps == [Gap(topic=TOPIC, partition=0, start=0, end=1)]
        wait_for(broadcast_.is_live)
    finally:
        assert broadcast_.stop(120)


@pytest.mark.kafka
@pytest.mark.parametrize("rights", RIGHTS)
def test_when_a_right_is_taken_for_a_while_it_goes_on_where_it_was(guarded: Broker, rights: str) -> None:
    gaps: list[Gap] = []
    seen = noting(entry_made, "note", on_gap=gaps.append)
    broadcast_ = Broadcast(broadcasting.declared())
    broadcast_.start()
    try:
        assert broadcast_.wait_until_ready(60)
        put(guarded, 1)
        wait_for(lambda: seen == [1])
        guarded.restrict(TOPIC, *RIGHTS[rights], *[AclOperation.WRITE] * (rights != "nothing"))
        wait_for(lambda: not broadcast_.is_live("note"))
        if rights != "nothing":
            put(guarded, 2)
        guarded.unrestrict(TOPIC)
        put(guarded, 3)
        wait_for(lambda: 3 in seen)
        assert seen == [1, 2, 3] if rights != "nothing" else [1, 3]
        assert not gaps
        wait_for(broadcast_.is_live)
    finally:
        assert broadcast_.stop(120)


@pytest.mark.kafka
def test_who_subscribes_to_a_topic_that_may_not_be_read_is_told_why(
    guarded: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "LINGER", 0.0)
    guarded.restrict(TOPIC)
    with sending():
        with pytest.raises(KafkaRefused, match=f"{guarded.prefix}{TOPIC}"):
            entry_made.subscribe(timeout=60).open()
        guarded.unrestrict(TOPIC)
        with entry_made.subscribe(timeout=60) as events:
            put(guarded, 1)
            event = events.get(timeout=60)
            assert event and event.payload.number == 1
    wait_for(lambda: hub_module.hub._reader is None)
