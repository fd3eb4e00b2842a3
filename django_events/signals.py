"""Facts about events, for logs, metrics and the site's own code.

A receiver that raises is logged by Django and harms nothing. Receivers run in the thread that learned the fact, so they
should be quick.
"""

import logging

from django.dispatch import Signal

logger = logging.getLogger("django_events.signals")

event_saved = Signal()
"""An event was written to the outbox. Sent in the caller's transaction, which may still be rolled back.

Arguments: ``sender`` the topic's name, ``event`` the Event, ``using`` the database alias."""

event_sent = Signal()
"""Kafka has acknowledged an event and its row is gone. Sent after that commit by the relay, or by catch-up, whose two
threads may do so at the same time; again for a duplicate. After ``send_now``, which has no row, it is sent in the
caller's thread.

Arguments: ``sender`` the topic's name, ``key`` the event's key as bytes or None, ``event_id``,
``saved_at`` when the row was written, ``using`` the database alias; both are None after ``send_now``."""

event_set_aside = Signal()
"""Kafka refuses an event for itself (too large for its topic, no key on a compacted topic), so its row is set aside for
an operator. Sent after that commit by the relay, or by catch-up.

Arguments: ``sender`` the topic's name, ``key`` the event's key as bytes or None, ``event_id``, ``error`` Kafka's
reason, ``using`` the database alias."""

event_handled = Signal()
"""A handler has taken effect (exactly-once: its transaction is committed). Sent in the worker's thread.

Arguments: ``sender`` the user's function, ``event`` the Event, ``seconds`` how long the attempt took."""

event_failed = Signal()
"""A handler has failed with an event, or the event could not be read; also when a dead letter is tried again. Sent in
the group's thread, or in the one that has its dead letters tried: be very quick.

Arguments: ``sender`` the user's function, ``record`` the record that was tried, ``group``, ``handler``, ``attempt``
(from 1), ``exception`` the name of the error's type, ``follows`` what becomes of it: ``again``, ``buried`` (it becomes
a dead letter), ``kept`` (it stays one, until somebody has it tried), ``discarded`` or ``ignored``; ``dead_letter`` the
number of the letter's row, or None if the record came from Kafka."""

event_dead_lettered = Signal()
"""Kafka has acknowledged the dead letter of an event; its offset passes next. After a crash in between there is another
letter, and this is sent again. Sent in the group's thread: be very quick.

Arguments: ``sender`` the user's function, ``record`` the record from Kafka, ``group``, ``handler``, ``attempts`` how
many have failed, ``exception`` the name of the last error's type, ``letter_id`` the letter's id, ``letter_topic`` the
topic that it is in."""

group_assigned = Signal()
"""This process has got partitions of a group; reading them begins when all receivers have returned. Sent in the group's
thread, while Kafka waits: be very quick.

Arguments: ``sender`` the ConsumerGroup, ``group`` its name, ``partitions`` a list of ``Partition(topic, number)``."""

group_revoked = Signal()
"""This process has given partitions of a group up: what ran has finished or was left, offsets are committed. Sent in
the group's thread, while Kafka waits: be very quick. Also at the end of the process, unless it is killed.

Arguments: as ``group_assigned``, and ``lost``: whether another process has had them already, so that nothing could be
committed."""


def tell(signal: Signal, sender: object, **facts: object) -> None:
    """Send the signal from a thread of ours, which has all other events, too: also a receiver that wants to end the
    process (SystemExit) ends nothing. Never raises."""
    try:
        signal.send_robust(sender=sender, **facts)
    except BaseException:
        logger.exception("A receiver of %s failed", _name_of(signal))


def _name_of(signal: Signal) -> str:
    return next((name for name, value in globals().items() if value is signal), "a signal")
