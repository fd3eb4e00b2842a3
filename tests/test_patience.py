"""How long a round waits for Kafka: longer while nothing comes, shorter once Kafka is quick."""

from types import SimpleNamespace
from typing import Any, cast

from django_events.kafka.producer import Deliveries
from django_events.kafka.record import Record
from django_events.producing.courier import Courier
from django_events.producing.patience import LONGEST, SHORTEST, Patience


def impatient() -> Patience:
    """After an outage."""
    patience = Patience()
    for _ in range(4):
        patience.learn(was_short=True, seconds=patience.seconds)
    return patience


def test_it_doubles_while_it_is_too_short_up_to_a_bound() -> None:
    patience = Patience()
    waits = []
    for _ in range(4):
        waits.append(patience.seconds)
        patience.learn(was_short=True, seconds=patience.seconds)
    assert waits == [SHORTEST, 2 * SHORTEST, 4 * SHORTEST, LONGEST]


def test_it_halves_when_kafka_is_quick_again_down_to_a_bound() -> None:
    patience = impatient()
    patience.learn(was_short=False, seconds=0.01)
    assert patience.seconds == LONGEST / 2
    for _ in range(10):
        patience.learn(was_short=False, seconds=0.01)
    assert patience.seconds == SHORTEST


def test_a_slow_kafka_that_answers_is_waited_for_as_long_as_before() -> None:
    patience = impatient()
    for _ in range(100):
        patience.learn(was_short=False, seconds=LONGEST / 3)
    assert patience.seconds == LONGEST


class Acknowledging:
    """A producer of which Kafka has acknowledged this, and nothing about these topics, when the time is over."""

    def __init__(self, acknowledged: list[int], silent: set[str]) -> None:
        self._deliveries = Deliveries(acknowledged, other_errors=["too late"] if silent else [], silent=silent)

    def send(self, *_: object) -> Deliveries:
        return self._deliveries

    def discard(self) -> None:
        """There is nothing to give up."""


def wait_after(acknowledged: list[int], silent: set[str]) -> float:
    """How long the next round waits, after one with two events of the topic a and one of b."""
    rows = [SimpleNamespace(id=id, topic=topic, record=Record(topic, None, b"", [])) for id, topic in enumerate("aab")]
    courier = Courier()
    courier._producer = cast(Any, Acknowledging(acknowledged, silent))
    courier.send(cast(Any, rows))
    return courier._patience.seconds


def test_a_kafka_that_has_not_got_through_all_of_a_topic_is_waited_for_longer() -> None:
    assert wait_after([0, 2], {"a"}) == 2 * SHORTEST
    assert wait_after([], {"a", "b"}) == 2 * SHORTEST


def test_for_a_topic_of_which_nothing_comes_others_do_not_wait_longer() -> None:
    assert wait_after([2], {"a"}) == SHORTEST
    assert wait_after([0, 1, 2], set()) == SHORTEST
