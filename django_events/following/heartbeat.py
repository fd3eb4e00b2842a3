"""A record that is sent only in silence, so that a silent topic can be told from a dead reader.

Its topic and form are those of the Go library; the processes of both hear each other, and whoever is first is enough.
"""

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from django_events import cloudevents
from django_events.conf import SHORTEST_HEARTBEAT, settings
from django_events.events import Event
from django_events.exceptions import EventsError, SettingsError
from django_events.kafka import names, spec
from django_events.kafka.record import Record
from django_events.producing.immediate import immediate

logger = logging.getLogger("django_events.broadcast")

TOPIC = names.HEARTBEAT_TOPIC

EARLIER = 0.25
"""By which share of the interval a heartbeat may come earlier, at random, so that not all processes send at once."""

ANSWER = 2.0
"""Seconds that Kafka has to take a heartbeat."""

SECOND = 1.0
"""Seconds between two looks at least."""

spec.declare(spec.TopicSpec(name=TOPIC))


def interval() -> float:
    """Seconds of silence after which a heartbeat is sent at the latest. Raises SettingsError below 0.1."""
    seconds = float(settings.BROADCAST_HEARTBEAT)
    if seconds < SHORTEST_HEARTBEAT:
        raise SettingsError(
            f"settings.DJANGO_EVENTS['BROADCAST_HEARTBEAT'] is {seconds:g}, which would be a storm. Use a number of "
            f"seconds from {SHORTEST_HEARTBEAT:g}."
        )
    return seconds


def record() -> Record:
    """A heartbeat."""
    key = str(uuid.uuid4())
    return cloudevents.encode(
        Event(
            topic=TOPIC,
            key=key,
            payload={},
            data=b"{}",
            content_type=cloudevents.JSON,
            id=str(uuid.uuid4()),
            source=settings.SOURCE,
            type=TOPIC,
            subject=key,
            time=datetime.now(UTC),
            dataschema="events.HeartbeatEvent",  # the name of its type in Go, package and all
        )
    )


class Heart(threading.Thread):
    """Sends heartbeats while nothing else is heard, until it is stopped. ``error`` is what ended it otherwise."""

    def __init__(
        self, latency: Callable[[], float], each_second: Callable[[], None], at_the_end: Callable[[], None]
    ) -> None:
        """``latency``: seconds since the sending of the newest record that was read, by the reader that is furthest
        behind. ``each_second`` is called about as often, and ``at_the_end`` once it is stopped."""
        super().__init__(name="django-events-heart", daemon=True)
        self.error: BaseException | None = None
        self.left_running = False  # it runs no handlers
        self._latency = latency
        self._each_second = each_second
        self._at_the_end = at_the_end
        self._sent = time.monotonic()  # as if: what is silence, nobody can tell at the start
        self._stopping = threading.Event()
        self._trouble = ""

    def stop(self, timeout: float = 0.0) -> None:
        """End, whatever ``timeout`` says. Thread-safe, idempotent; returns at once. Then ``join``."""
        self._stopping.set()

    def run(self) -> None:
        try:
            self._beat()
            self._at_the_end()
        except BaseException as error:
            logger.exception("The thread that sends heartbeats ended")
            self.error = error

    def _beat(self) -> None:
        silence = _some_silence()
        while not self._stopping.wait(min(max(self._seconds_to(silence), 0.0), SECOND)):
            self._each_second()
            if self._seconds_to(silence) <= 0:
                self._send()
                silence = _some_silence()

    def _seconds_to(self, silence: float) -> float:
        """Seconds until there has been silence for so long."""
        return silence - min(self._latency(), time.monotonic() - self._sent)

    def _send(self) -> None:
        """Send one; if that fails, it is tried again after the next interval."""
        self._sent = time.monotonic()
        try:
            immediate.send([record()], ANSWER)
        except Exception as error:
            trouble = str(error) or repr(error)
            if trouble != self._trouble:
                logger.warning("No heartbeat could be sent: %s. It is tried again until it works", trouble)
                if not isinstance(error, EventsError):
                    logger.exception("Sending a heartbeat failed in a way that is not known")
            self._trouble = trouble
        else:
            if self._trouble:
                logger.warning("Sending heartbeats works again")
            self._trouble = ""


def _some_silence() -> float:
    """After how many seconds without a word one is sent."""
    return interval() * (1 - random.uniform(0, EARLIER))
