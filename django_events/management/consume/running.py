"""Runs a service until it is to end, and stops it in good order."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from django.core.management.base import CommandError

from django_events.broadcasting import BroadcastHandler
from django_events.consuming.limits import Limits
from django_events.consuming.service import CLOSING, Service
from django_events.consuming.until_empty import UntilEmpty
from django_events.handlers import ConsumerGroup
from django_events.management.console import Console
from django_events.management.consume.health_file import HealthFile
from django_events.management.force import ended_after
from django_events.management.garbage import sparing_what_there_is
from django_events.models import Kind
from django_events.stopping import Stop

LOOK = 0.2
"""Seconds between two looks at whether to go on."""

BY_FORCE = 5.0
"""Seconds above those after which a stop ends by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How long and how a process consumes. Immutable."""

    groups: Sequence[ConsumerGroup]
    broadcasts: Sequence[BroadcastHandler]
    limits: Limits
    shutdown_timeout: float
    """Seconds that running handlers have when the process stops."""
    until_empty: bool
    """Whether it ends when all is handled that there was when it began."""
    max_events: int | None
    """Events after which it ends."""
    health_file: HealthFile | None


class _Consume(Service):
    """That of the command: in the table of processes it goes by its name."""

    kind = Kind.CONSUME


def consume(run: Run, stop: Stop, console: Console, exit_code: Callable[[], int] = lambda: 1) -> None:
    """Consume until the service ends, ``stop`` is set, or what it waits for is reached.

    If handlers do not end in time, the process ends at once with ``exit_code``. Raises what has ended the service, and
    CommandError if it was to run until all is handled and has been stopped before.
    """
    with sparing_what_there_is():
        _consume(run, stop, console, exit_code)


def _consume(run: Run, stop: Stop, console: Console, exit_code: Callable[[], int]) -> None:
    say = console.tell
    service = _Consume(run.groups, broadcast=run.broadcasts, limits=run.limits, on_change=say)
    until_empty = UntilEmpty(run.groups, lambda: service.is_prepared, say) if run.until_empty else None
    service.begin()  # Kafka is waited for as long as it takes
    if until_empty:
        until_empty.start()
    try:
        while not stop.is_set() and not service.wait(timeout=LOOK):
            if run.health_file and service.is_healthy:
                run.health_file.touch()
            if reason := _reason_to_end(run, service, until_empty):
                say(reason)
                break
    finally:
        say("Stopping: finishing what runs")
        if until_empty:
            until_empty.stop()
        _stop(service, run, console, exit_code)
        if until_empty:
            until_empty.join(CLOSING)  # it may be waiting for an answer of Kafka
        say("Stopped")
    if until_empty and not until_empty.is_empty:
        raise CommandError("Stopped before everything was handled that there was at the start.")


def _reason_to_end(run: Run, service: Service, until_empty: UntilEmpty | None) -> str:
    """Why to end now, in a sentence; nothing if there is no reason."""
    if until_empty and until_empty.is_empty:
        return "Everything is handled that there was at the start"
    if run.max_events and service.records_done >= run.max_events:
        return f"{service.records_done:,} events are handled, which is enough"
    return ""


def _stop(service: Service, run: Run, console: Console, exit_code: Callable[[], int]) -> None:
    with ended_after(run.shutdown_timeout + CLOSING + BY_FORCE):
        has_ended = service.stop(run.shutdown_timeout)
    if not has_ended:
        with suppress(OSError):  # nobody reads any more
            console.note("A handler or Kafka did not end in time; what they had not finished comes again.")
        os._exit(exit_code())  # a handler that never returns must not keep the process, and its partitions, alive
    if run.health_file:
        run.health_file.remove()
