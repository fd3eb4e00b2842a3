"""Broadcast handlers in processes that serve requests: how they start there, and how one knows that they are well.

Importing this loads neither models nor librdkafka.
"""

import os
from typing import Any

from django.core.signals import request_started

from django_events.conf import settings
from django_events.consuming.broadcasts import running


class _Wish:
    """Whether this process is to run broadcast handlers, and does."""

    def __init__(self) -> None:
        self.is_said = False
        self.is_done = False

    def after_fork(self) -> None:
        """In a child process nothing runs any more."""
        self.is_done = False


_wish = _Wish()

os.register_at_fork(after_in_child=_wish.after_fork)


def start_broadcast() -> None:
    """Start the declared broadcast handlers in this process, in daemon threads that never keep it alive.

    For ``wsgi.py`` and ``asgi.py``, below ``get_wsgi_application()``. Idempotent, thread-safe, does not wait for Kafka.
    Processes that are forked from this one start theirs with their first request, or when they call this or ask for
    their latency. Under a test runner nothing starts. Raises AppRegistryNotReady before ``django.setup()``, and
    SettingsError for settings that cannot be.
    """
    _wish.is_said = True
    _start()


def broadcast_latency(handler: str | None = None) -> float:
    """How many seconds old what this broadcast handler knows in this process is at most; without a name, that of the
    handler which is furthest behind.

    It is the time since the sending of the newest event or heartbeat that was read, or since an event came that the
    handler is not done with, or for which the leader of a partition is not reached. Infinite if it does not run here;
    whether ``start_broadcast``, ``consume`` or a ``Service`` runs it makes no difference. Thread-safe; does not block.
    Raises DeclarationError for a name that no handler has.
    """
    _start_if_wished()
    return running.latency(handler)


def broadcast_is_live(handler: str | None = None) -> bool:
    """Whether what this broadcast handler knows in this process is not older than two intervals of the heartbeat (20
    seconds, unless BROADCAST_HEARTBEAT says otherwise); without a name, whether that is so of all.

    False if none runs here. Thread-safe; does not block. Errors as ``broadcast_latency``.
    """
    _start_if_wished()
    return running.is_live(handler)


def start_at_requests() -> None:
    """Have each request see to it that what is wished runs in its process. Idempotent."""
    request_started.connect(_at_request, dispatch_uid="django_events.web")


def _at_request(**kwargs: Any) -> None:
    if not _wish.is_done and (_wish.is_said or settings.START_BROADCAST):
        start_broadcast()


def _start_if_wished() -> None:
    """In a child process of the one that has wished for it."""
    if _wish.is_said and not _wish.is_done:
        _start()


def _start() -> None:
    from django_events.consuming.in_process import in_process  # loads librdkafka

    in_process.start()
    _wish.is_done = True
