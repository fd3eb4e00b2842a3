"""How long a round waits for Kafka: longer while nothing comes, shorter once Kafka is quick."""

from typing import Any, cast

from django_events.kafka.producer import Deliveries
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
    """A producer that gives these deliveries."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries

    def send(self, *_: object) -> Deliveries:
        return self._deliveries

    def discard(self) -> None:
        """There is nothing to give up."""


def wait_after(**deliveries: Any) -> float:
    """How long the next round waits, after one with these deliveries."""
    courier = Courier()
    courier._producer = cast(Any, Acknowledging(Deliveries(**deliveries)))
    courier.send([])
    return courier._patience.seconds


def test_a_kafka_that_has_not_got_through_all_in_time_is_waited_for_longer() -> None:
    assert wait_after(acknowledged=[1], silent={"orders"}, were_coming=True) == 2 * SHORTEST
    assert wait_after(acknowledged=[], silent={"orders"}) == 2 * SHORTEST


def test_a_kafka_that_refuses_is_not_a_slow_one() -> None:
    assert wait_after(topic_errors={"orders": "not authorized"}) == SHORTEST


def test_for_a_topic_that_is_silent_others_do_not_wait_longer() -> None:
    assert wait_after(acknowledged=[1], silent={"orders"}) == SHORTEST
    assert wait_after(acknowledged=[1]) == SHORTEST
