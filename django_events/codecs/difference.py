"""Where two payloads differ, for the text of an error."""

import dataclasses
from typing import Any

import msgspec

from django_events import redaction


def first_difference(sent: Any, read: Any, where: str = "payload") -> str:
    """The first place at which the two differ, as a sentence for people; what REDACT names is not told."""
    if type(sent) is type(read):
        for name, part in _parts(sent):
            other = dict(_parts(read)).get(name)
            if part != other:
                return first_difference(part, other, f"{where}.{name}")
    if redaction.hides(tuple(part for part in where.split(".")[1:] if not part.isdigit())):
        return f"{where} would be read as something else (REDACT hides the values)"
    return f"{where} is {sent!r:.80} and would be read as {read!r:.80}"


def _parts(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, (list, tuple)):
        return list(enumerate(value))
    return [(name, getattr(value, name)) for name in _fields(type(value))]


def _fields(kind: type) -> list[str]:
    if issubclass(kind, msgspec.Struct):
        return list(kind.__struct_fields__)
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    of_attrs = [field.name for field in getattr(kind, "__attrs_attrs__", ())]
    return of_attrs or list(getattr(kind, "model_fields", ()))
