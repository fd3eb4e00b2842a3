"""What payload types are called, in errors and in the events themselves."""

from typing import Any


def name_of(payload_type: Any) -> str:
    """The type's name, for people."""
    return getattr(payload_type, "__qualname__", None) or repr(payload_type)


def schema_of(payload_type: type) -> str | None:
    """The schema of events of this type: its name, as the other services that share the topics call it; none for
    Python's own types, whose names say nothing."""
    is_own = getattr(payload_type, "__module__", "") == "builtins"
    return None if is_own else getattr(payload_type, "__qualname__", None)
