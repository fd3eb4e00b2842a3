"""The same trouble with Kafka has the same text each time, so that it is logged once."""

from concurrent.futures import Future

import pytest
from confluent_kafka import KafkaError, KafkaException

from django_events.exceptions import KafkaRefused
from django_events.kafka.consumer_troubles import Troubles
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


def test_a_certificate_is_refused_in_the_same_words_each_time() -> None:
    refused = "error:0A000086:SSL routines::certificate verify failed"
    texts = {
        explained(
            KafkaError(KafkaError._SSL, f"ssl://kafka1:9092/bootstrap: {text} (after 4ms in state SSL_HANDSHAKE)")
        )
        for text in (
            refused,
            f"SSL handshake failed: {refused}: broker certificate could not be verified, verify that …",
        )
    }
    assert texts == {
        f"SSL handshake failed: {refused}. Check 'ssl.ca.location', and that the brokers' certificates are for their "
        "names, in settings.DJANGO_EVENTS['KAFKA']"
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


@pytest.mark.parametrize(
    ("code", "level", "said"),
    [
        (KafkaError._TRANSPORT, "WARNING", "Group billing has trouble with orders[3]: as if. It goes on"),
        (
            KafkaError._BAD_COMPRESSION,
            "ERROR",
            "Group billing cannot read on in orders[3], which stands still: as if. If that batch may have more than "
            "'receive.message.max.bytes' when it is unpacked (100,000,000 unless it is set), raise that in "
            "settings.DJANGO_EVENTS['KAFKA_CONSUMER']; otherwise pass it over",
        ),
    ],
)
def test_of_a_partition_it_is_said_once_whether_it_goes_on(
    caplog: pytest.LogCaptureFixture, code: int, level: str, said: str
) -> None:
    troubles = Troubles("Group billing")
    for _ in range(3):
        troubles.say_of_partition(KafkaError(code, "as if"), "orders[3]", "otherwise pass it over")
    assert [(line.levelname, line.getMessage()) for line in caplog.records] == [(level, said)]
