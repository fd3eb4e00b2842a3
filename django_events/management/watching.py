"""``--watch``: a command shows the same again and again."""

from argparse import ArgumentParser
from collections.abc import Callable

from django.db import Error as DatabaseError

from django_events.exceptions import BrokerUnavailable
from django_events.management import arguments
from django_events.management.console import Console
from django_events.management.signals import stop_on_signals
from django_events.stopping import Stop

CLEAR = "\x1b[2J\x1b[H"
"""What has a terminal begin at its top again."""


def add_to(parser: ArgumentParser) -> None:
    """Add ``--watch``."""
    parser.add_argument(
        "--watch",
        type=arguments.seconds_above_zero,
        nargs="?",
        const=2.0,
        metavar="SECONDS",
        help="show it again and again, this far apart (default: 2), until Ctrl-C",
    )


def show(once: Callable[[], None], interval: float | None, console: Console) -> None:
    """Call ``once``, or again and again with an interval (in seconds) until a signal. Then an outage is only said."""
    if interval is None:
        once()
        return
    stop = Stop()
    with stop_on_signals(stop):
        while not stop.is_set():
            try:
                once()
            except (BrokerUnavailable, DatabaseError) as error:
                console.note(str(error).strip())
            console.out.flush()
            stop.wait(interval)


def begin_anew(interval: float | None, console: Console) -> None:
    """While watching in a terminal, show the next below its top, in place of what was shown last."""
    if interval and console.out.isatty():
        console.out.write(CLEAR, ending="")
