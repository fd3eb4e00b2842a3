"""The same trouble with Kafka has the same text each time, so that it is logged once."""

from concurrent.futures import Future

import pytest
from confluent_kafka import KafkaError, KafkaException

from django_events.exceptions import KafkaRefused
from django_events.kafka.errors import LastError, answer_of, explained


def test_neither_the_broker_nor_the_time_that_it_took_makes_news() -> None:
    texts = {
        explained(KafkaError(KafkaError._AUTHENTICATION, f"sasl_ssl://{broker}: SASL authentication error: no{took}"))
        for broker, took in (
            ("kafka1:9092/bootstrap", " (after 317ms in state AUTH_REQ)"),
            ("kafka2:9092/2", " (after 4ms in state AUTH_REQ, 3 identical error(s) suppressed)"),
        )
    }
    assert texts == {
        "SASL authentication error: no. Check 'sasl.username' and 'sasl.password' in settings.DJANGO_EVENTS['KAFKA']"
    }


def test_a_refusal_is_explained_as_everything_else() -> None:
    refused: Future[None] = Future()
    text = "sasl_ssl://kafka1:9092/1: SASL authentication error: no (after 317ms in state AUTH_REQ)"
    refused.set_exception(KafkaException(KafkaError(KafkaError._AUTHENTICATION, text)))
    with pytest.raises(KafkaRefused) as raised:
        answer_of(refused, "tell of the group 'ward'", LastError())
    assert str(raised.value) == (
        "Kafka does not tell of the group 'ward': SASL authentication error: no. Check 'sasl.username' and "
        "'sasl.password' in settings.DJANGO_EVENTS['KAFKA']"
    )
