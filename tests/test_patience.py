"""How long a round waits for Kafka: longer while nothing comes, shorter once Kafka is quick."""

from django_events.producing.patience import FIRST, LONGEST, QUICK_ROUNDS, SHORTEST, Patience


def test_it_doubles_while_nothing_is_acknowledged_up_to_a_bound() -> None:
    patience = Patience()
    waits = []
    for _ in range(4):
        waits.append(patience.seconds)
        patience.learn(acknowledged=0, seconds=patience.seconds)
    assert waits == [FIRST, 2 * FIRST, 4 * FIRST, LONGEST]


def test_it_halves_when_kafka_has_been_quick_for_some_time() -> None:
    patience = Patience()
    for _ in range(QUICK_ROUNDS - 1):
        patience.learn(acknowledged=1, seconds=0.01)
    patience.learn(acknowledged=1, seconds=FIRST / 2)
    assert patience.seconds == FIRST
    for _ in range(QUICK_ROUNDS * 20):
        patience.learn(acknowledged=1, seconds=0.01)
    assert patience.seconds == SHORTEST


def test_a_slow_kafka_that_answers_is_waited_for_as_long_as_before() -> None:
    patience = Patience()
    for _ in range(100):
        patience.learn(acknowledged=1, seconds=3.0)
    assert patience.seconds == FIRST
