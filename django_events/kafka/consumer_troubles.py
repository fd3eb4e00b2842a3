"""Troubles of a consumer's connections and partitions: each kind is said once, and a changed password is taken up."""

import logging
import time

import confluent_kafka
from confluent_kafka import KafkaError

from django_events.kafka import config
from django_events.kafka.errors import explained, remedy_of
from django_events.kafka.secrets import reveal

logger = logging.getLogger("django_events.kafka")

SAID_AGAIN_AFTER = 300.0
"""Seconds after which the same trouble is logged again."""

RENEWED_EVERY = 1.0
"""Seconds between two questions for a password after Kafka has refused one."""

STAND_STILL = frozenset(
    (
        KafkaError._BAD_COMPRESSION,
        KafkaError._BAD_MSG,
        KafkaError._NOT_IMPLEMENTED,
        KafkaError.MSG_SIZE_TOO_LARGE,
    )
)
"""Errors of a partition whose next batch of records librdkafka cannot unpack. It fetches the same again and again."""

LARGER = (
    "If that batch may have more than 'receive.message.max.bytes' when it is unpacked (100,000,000 unless it is set), "
    "raise that in settings.DJANGO_EVENTS['KAFKA_CONSUMER']"
)
"""The first half of the remedy."""


class Troubles:
    """The troubles of one consumer, and its ``error_cb``, which librdkafka calls inside of ``poll``. Used by the
    consumer's thread alone."""

    def __init__(self, who: str) -> None:
        """``who`` is how lines of the log call the consumer."""
        self._who = who
        self._said: dict[tuple[object, ...], float] = {}
        self._is_refused = False
        self._renewed_at = 0.0

    def __call__(self, error: KafkaError) -> None:
        """librdkafka mends connections itself, so one line for each kind is enough. Never raises."""
        try:
            self._is_refused |= error.code() == KafkaError._AUTHENTICATION
            if error.code() != KafkaError._ALL_BROKERS_DOWN or not self._said:  # else it is said already why
                what = ("connection", error.code(), remedy_of(error))
                self.say_once(what, f"Kafka at {config.brokers()}: {explained(error)}")
        except Exception:
            logger.exception("%s could not log an error of its client", self._who)

    def say_of_partition(self, error: KafkaError, where: str, otherwise: str) -> None:
        """Log that this partition has an error. ``otherwise``: what to do where it stands still and nothing can be
        raised."""
        what = error.code(), where
        if error.code() in STAND_STILL:
            text = f"{self._who} cannot read on in {where}, which stands still: {error.str()}. {LARGER}; {otherwise}"
            self.say_once(what, text, logging.ERROR)
        else:
            self.say_once(what, f"{self._who} has trouble with {where}: {error.str()}. It goes on")

    def say_once(self, what: tuple[object, ...], text: str, level: int = logging.WARNING) -> None:
        """Log the text, unless it was said of the same thing lately."""
        now = time.monotonic()
        if now >= self._said.get(what, 0.0) and len(self._said) < 1000:
            self._said[what] = now + SAID_AGAIN_AFTER
            logger.log(level, "%s", text)

    def renew_credentials(self, client: confluent_kafka.Consumer) -> None:
        """Once Kafka has refused a password that comes from a function, have librdkafka take the present one with its
        next try."""
        now = time.monotonic()
        if not self._is_refused or now < self._renewed_at + RENEWED_EVERY:
            return
        self._is_refused, self._renewed_at = False, now
        try:
            if credentials := config.renewed_credentials():
                client.set_sasl_credentials(*map(reveal, credentials))
        except Exception as error:
            self.say_once(("credentials", str(error)), f"{self._who} has no new credentials: {error}")
