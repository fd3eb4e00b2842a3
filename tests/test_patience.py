"""How long a round waits for Kafka: longer while nothing comes, shorter once Kafka is quick."""

from django_events.producing.patience import LONGEST, SHORTEST, Patience


def impatient() -> Patience:
    """After an outage."""
    patience = Patience()
    for _ in range(4):
        patience.learn(acknowledged=0, seconds=patience.seconds)
    return patience


def test_it_doubles_while_nothing_is_acknowledged_up_to_a_bound() -> None:
    patience = Patience()
    waits = []
    for _ in range(4):
        waits.append(patience.seconds)
        patience.learn(acknowledged=0, seconds=patience.seconds)
    assert waits == [SHORTEST, 2 * SHORTEST, 4 * SHORTEST, LONGEST]


def test_it_halves_when_kafka_is_quick_again_down_to_a_bound() -> None:
    patience = impatient()
    patience.learn(acknowledged=1, seconds=0.01)
    assert patience.seconds == LONGEST / 2
    for _ in range(10):
        patience.learn(acknowledged=1, seconds=0.01)
    assert patience.seconds == SHORTEST


def test_a_slow_kafka_that_answers_is_waited_for_as_long_as_before() -> None:
    patience = impatient()
    for _ in range(100):
        patience.learn(acknowledged=1, seconds=LONGEST / 3)
    assert patience.seconds == LONGEST
