"""Types of command line arguments that say what is wrong with a value."""

from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime

from django.conf import settings
from django.utils import timezone

from django_events.kafka.positions import Edge, Position

MOST_WORKERS = 1_000
"""Of one group in one process."""

_LONGEST = 86_400 * 365
"""Seconds: a year. More is a mistake, and clocks overflow."""


def add_djangos_options(parser: ArgumentParser) -> None:
    """Let the parser of a verb take the options of every command where people write them, which is at the end."""
    for name in ("--settings", "--pythonpath"):
        parser.add_argument(name, default=SUPPRESS, help=SUPPRESS)
    for name in ("--traceback", "--no-color", "--force-color"):
        parser.add_argument(name, action="store_true", default=SUPPRESS, help=SUPPRESS)


def seconds(text: str) -> float:
    """A number of seconds, 0 or more."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= _LONGEST:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")
    return value


def seconds_above_zero(text: str) -> float:
    """A number of seconds above 0."""
    value = seconds(text)
    if not value:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def whole_number(text: str) -> int:
    """A whole number from 1."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 1_000_000:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1 to 1,000,000")
    return int(text)


def port(text: str) -> int:
    """A port of TCP."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 2**16:
        raise ArgumentTypeError(f"{text!r} is not a port, 1 to 65535")
    return int(text)


def workers(text: str) -> int:
    """A number of threads, as ConsumerGroup takes it."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= MOST_WORKERS:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1 to {MOST_WORKERS:,}")
    return int(text)


def row_id(text: str) -> int:
    """The number of a row."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 2**63:
        raise ArgumentTypeError(f"{text!r} is not the number of a row, such as 17")
    return int(text)


def some_text(text: str) -> str:
    """A text that says something, as databases take it."""
    if not text.strip():
        raise ArgumentTypeError("it is empty")
    return whole_characters(text)


def whole_characters(text: str) -> str:
    """The text with bytes escaped that are no UTF-8: Python reads those of the command line as half characters."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def moment(text: str) -> datetime:
    """A time in ISO 8601; without time zone, in that of the site."""
    try:
        value = datetime.fromisoformat(text)
        value = value if value.tzinfo else timezone.make_aware(value)
        value = value.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ArgumentTypeError(
            f"{text!r} is not a time, such as 2026-01-31, 2026-01-31T09:00 or 2026-01-31T09:00:00+01:00"
        ) from None
    return value if settings.USE_TZ else timezone.make_naive(value)


def position(text: str) -> Position:
    """A place in a topic: ``earliest``, ``latest``, an offset, or a time as ``moment`` reads it."""
    if text in (Edge.EARLIEST.value, Edge.LATEST.value):
        return Edge(text)
    if text.isascii() and text.isdigit() and int(text) < 2**63:
        return int(text)
    try:
        return moment(text)
    except ArgumentTypeError:
        raise ArgumentTypeError(
            f"{text!r} is not a place in a topic: earliest, latest, an offset such as 1200, or a time such as "
            "2026-01-31T09:00"
        ) from None


def partition(text: str) -> int:
    """The number of a partition."""
    if not text.isascii() or not text.isdigit() or int(text) >= 2**31:
        raise ArgumentTypeError(f"{text!r} is not the number of a partition, such as 0")
    return int(text)


def add_timeout_of_kafka(parser: ArgumentParser, default: float = 10.0) -> None:
    """Add ``--timeout``."""
    parser.add_argument(
        "--timeout",
        type=seconds_above_zero,
        default=default,
        metavar="SECONDS",
        help=f"how long Kafka may take to answer (default: {default:g})",
    )
