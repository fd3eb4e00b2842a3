"""Values of options that nobody may see: they hide themselves wherever an option is printed, logged or reported.

An error report shows the variables of each function on the way (Django's to the admins, Sentry's): so secrets are
hidden as soon as they are read from the settings, and taken out only in the call that makes a client.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

_SECRET = re.compile(r"^(sasl|ssl)[._]|pass|secret|token|key|oauth", re.IGNORECASE)
"""Names of options, also misspelt ones. That some of these are no secrets costs nothing: no text needs their values."""


class Hidden:
    """A value that shows itself to nobody but ``revealed``. Immutable."""

    __slots__ = ("_reveal",)

    def __init__(self, value: object) -> None:
        self._reveal: Callable[[], object] = lambda: value  # and so it is no attribute that a report would show

    def __repr__(self) -> str:
        return "<hidden>"


def hidden(name: str, value: object) -> object:
    """The option's value, hidden if it may be a secret. A function stays what it is: it does not show what it gives."""
    return Hidden(value) if _SECRET.search(name) and not callable(value) and value is not None else value


def revealed(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options for librdkafka. Keep them in no variable."""
    return {name: reveal(value) for name, value in options.items()}


def reveal(value: Any) -> Any:
    """The value itself. Keep it in no variable."""
    return value._reveal() if isinstance(value, Hidden) else value
