"""Facts about events, for logs, metrics and the site's own code.

All are sent with ``send_robust``: a receiver that raises is logged by Django and harms nothing. Receivers run in the
thread that learned the fact, so they should be quick.
"""

from django.dispatch import Signal

event_saved = Signal()
"""An event was written to the outbox. Sent in the caller's transaction, which may still be rolled back.

Arguments: ``sender`` the topic's name, ``event`` the Event, ``using`` the database alias."""

event_sent = Signal()
"""Kafka has acknowledged an event and its row is gone. Sent by the relay after its commit; again for a duplicate. After
``send_now``, which has no row, it is sent in the caller's thread.

Arguments: ``sender`` the topic's name, ``key`` the event's key as bytes or None, ``event_id``,
``saved_at`` when the row was written, ``using`` the database alias; both are None after ``send_now``."""

event_set_aside = Signal()
"""Kafka refuses an event for itself (too large for its topic, no key on a compacted topic), so its row is set aside for
an operator. Sent by the relay after its commit.

Arguments: ``sender`` the topic's name, ``key`` the event's key as bytes or None, ``event_id``, ``error`` Kafka's
reason, ``using`` the database alias."""

event_handled = Signal()
"""A handler has taken effect (exactly-once: its transaction is committed). Sent in the worker's thread.

Arguments: ``sender`` the user's function, ``event`` the Event, ``seconds`` how long the attempt took."""

event_failed = Signal()
"""A handler has failed with an event, or the event could not be read. Sent in the group's thread: be very quick.

Arguments: ``sender`` the user's function, ``record`` the record from Kafka, ``group``, ``handler``, ``attempt`` (from
1), ``exception`` the name of the error's type, ``follows`` what becomes of it: ``again``, ``buried`` (a dead letter),
``discarded`` or ``ignored``."""
