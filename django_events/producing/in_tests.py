"""Under a test runner nothing is sent, unless a test wants it; what ``send_now`` would have sent is kept for it."""

import os
import threading
from collections.abc import Sequence
from typing import Any

from django.core import mail

from django_events.events import Event
from django_events.producing.relay import relay
from django_events.under_test import is_under_test


def nothing_is_sent() -> bool:
    """Whether this process runs tests, and none of them wants sending."""
    return is_under_test() and not relay.allowed_in_tests


class SentInTests:
    """The events of the test that runs now; those of the test before it are forgotten. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._test: tuple[object, str] | None = None
        self._events: list[Event[Any]] = []

    def add(self, events: Sequence[Event[Any]]) -> None:
        """Keep what ``send_now`` would have sent. Thread-safe."""
        with self._lock:
            self._forget_other_tests()
            self._events.extend(events)

    def all(self) -> list[Event[Any]]:
        """The events, oldest first."""
        with self._lock:
            self._forget_other_tests()
            return list(self._events)

    def _forget_other_tests(self) -> None:
        test = _running_test()
        if self._test is None or test[0] is not self._test[0] or test[1] != self._test[1]:
            self._test, self._events = test, []


def _running_test() -> tuple[object, str]:
    """What changes from test to test: Django's TestCases get a new ``mail.outbox`` each, and pytest names its test."""
    name, _, _phase = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")
    return (getattr(mail, "outbox", None), name)


sent_in_tests = SentInTests()
