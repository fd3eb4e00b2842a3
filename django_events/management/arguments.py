"""Types of command line arguments that say what is wrong with a value."""

from argparse import ArgumentTypeError

_LONGEST = 86_400 * 365


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
