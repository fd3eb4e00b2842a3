"""The same trouble with Kafka has the same text each time, so that it is logged once."""

from confluent_kafka import KafkaError

from django_events.kafka.errors import explained


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
