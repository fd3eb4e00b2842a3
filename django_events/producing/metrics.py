"""What is counted of events that go out. A round is counted as a whole, which costs less than each event."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, Literal, TypeAlias

from django_events import metrics
from django_events.events import Event
from django_events.models import WaitingRow
from django_events.producing.courier import Sending

Method: TypeAlias = Literal["relay", "catchup"]
"""Who sends the rows of the outbox."""

NOW = "now"
"""The method of ``send_now``."""

_topic = attrgetter("topic")


def saved(events: Iterable[Event[Any]]) -> None:
    """These are in the outbox, if their transaction is committed."""
    for topic, count in _by_topic(events):
        metrics.SAVED.of(topic).add(count)


def sent_now(events: Iterable[Event[Any]]) -> None:
    """Kafka has acknowledged all of these."""
    for topic, count in _by_topic(events):
        metrics.SENT.of(topic, NOW).add(count)


def not_sent_now(events: Iterable[Event[Any]]) -> None:
    """Kafka has not acknowledged all of these."""
    for topic, count in _by_topic(events):
        metrics.NOT_SENT.of(topic, NOW, "unanswered").add(count)


def count_round(method: Method, rows: Sequence[WaitingRow], sending: Sending, began: int) -> None:
    """A round is committed that had these rows, oldest first; it ``began`` so many nanoseconds after 1970."""
    if not rows or not metrics.is_there:
        return
    now = time.time()
    sent, left = _apart(rows, sending)
    for topic, count in Counter(map(_topic, sent)).items():
        oldest = next(row for row in sent if row.topic == topic)
        metrics.SENT.of(topic, method).add(count)
        metrics.SEND_DELAY.of(topic, method).observe(now - oldest.saved_at)
    for (topic, reason), count in Counter((row.topic, _why_not(row, sending)) for row in left).items():
        metrics.NOT_SENT.of(topic, method, reason).add(count)
    metrics.ROUND_EVENTS.of(method).observe(len(rows))
    metrics.ROUND_SECONDS.of(method, "unanswered" if sending.unanswered else "sent").observe(now - began / 1e9)


def _apart(rows: Sequence[WaitingRow], sending: Sending) -> tuple[Sequence[WaitingRow], Sequence[WaitingRow]]:
    """Those that Kafka has acknowledged, and the others. Mostly it is all of them."""
    if len(sending.acknowledged) == len(rows):
        return rows, ()
    acknowledged = set(sending.acknowledged)
    return [row for row in rows if row.id in acknowledged], [row for row in rows if row.id not in acknowledged]


def _why_not(row: WaitingRow, sending: Sending) -> str:
    if row.id in sending.refused:
        return "refused"
    return "held" if row.topic in sending.topic_errors else "unanswered"


def _by_topic(events: Iterable[Event[Any]]) -> Iterable[tuple[str, int]]:
    return Counter(event.topic for event in events).items() if metrics.is_there else ()
