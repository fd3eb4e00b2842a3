"""Hides what the setting REDACT names, wherever a person or a log sees events. Kafka and the database keep it."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django_events.conf import settings

HIDDEN = "[redacted]"
"""What is shown instead."""

SHORTEST_SECRET = 4
"""Characters from which a hidden value is also looked for in the texts of errors: shorter ones would hit anything."""

Pairs = Sequence[tuple[str, str | None]]
Path = tuple[str, ...]


def hides(path: Path) -> bool:
    """Whether what lies at this place of a payload is hidden."""
    return any(_fits(pattern, path) for pattern in _patterns())


def payload(value: Any) -> Any:
    """A copy of the payload (JSON's types) without what is hidden."""
    return _mapped(value, (), _patterns()) if settings.REDACT else value


def headers(pairs: Pairs) -> list[tuple[str, str | None]]:
    """The headers without the values that are hidden."""
    names = _header_names()
    return [(name, HIDDEN if name.lower() in names else value) for name, value in pairs]


def secrets(value: Any, pairs: Pairs) -> frozenset[str]:
    """The texts that are hidden in this payload and these headers, to be looked for in texts about them."""
    found = {str(part) for path, part in _leaves(value, ()) if any(_begins(pattern, path) for pattern in _patterns())}
    found |= {text for name, text in pairs if text and name.lower() in _header_names()}
    return frozenset(text for text in found if len(text) >= SHORTEST_SECRET)


def text(about: str, hidden: Iterable[str]) -> str:
    """The text without these secrets, whether they stand in it as they are or as Python or JSON write them."""
    forms = {form for secret in hidden for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):
        about = about.replace(form, HIDDEN)
    return about


def _forms(secret: str) -> Iterator[str]:
    yield secret
    yield from (write(secret)[1:-1] for write in (repr, ascii, json.dumps))
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(f"'\"{secret}")[4:-1]  # inside of a longer text that has both kinds of quotes


def restore(edited: Any, original: Any) -> Any:
    """The edited payload with the original's values where ``payload`` has hidden them.

    Raises ValueError naming a place that is still hidden but has nothing in the original.
    """
    return _restored(edited, original, (), _patterns()) if settings.REDACT else edited


def _patterns() -> list[Path]:
    return [tuple(entry.split(".")) for entry in settings.REDACT]


def _header_names() -> set[str]:
    return {entry.lower() for entry in settings.REDACT}


def _fits(pattern: Path, path: Path) -> bool:
    return len(pattern) == len(path) and all(want in ("*", have) for want, have in zip(pattern, path, strict=True))


def _begins(pattern: Path, path: Path) -> bool:
    """Whether the pattern names this place, or one that it lies in."""
    return len(path) >= len(pattern) and _fits(pattern, path[: len(pattern)])


def _mapped(value: Any, path: Path, patterns: Sequence[Path]) -> Any:
    if path and any(_fits(pattern, path) for pattern in patterns):
        return HIDDEN
    if isinstance(value, dict):
        return {name: _mapped(part, (*path, str(name)), patterns) for name, part in value.items()}
    if isinstance(value, list):
        return [_mapped(part, path, patterns) for part in value]
    return value


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    left = [(path, value)]  # no recursion: it has to work for payloads of any depth
    while left:
        path, value = left.pop()
        if isinstance(value, dict):
            left += [((*path, str(name)), part) for name, part in value.items()]
        elif isinstance(value, list):
            left += [(path, part) for part in value]
        elif value is not None:
            yield path, value


def _restored(edited: Any, original: Any, path: Path, patterns: Sequence[Path]) -> Any:
    if isinstance(edited, dict):
        known = original if isinstance(original, dict) else {}
        return {
            name: _restored(part, known.get(name, _NOTHING), (*path, str(name)), patterns)
            for name, part in edited.items()
        }
    if isinstance(edited, list):
        parts = original if isinstance(original, list) and len(original) == len(edited) else [_NOTHING] * len(edited)
        return [_restored(part, known, path, patterns) for part, known in zip(edited, parts, strict=True)]
    if edited == HIDDEN and any(_fits(pattern, path) for pattern in patterns):
        if original is _NOTHING:
            raise ValueError(f"{'.'.join(path)} is hidden, and there is no value to put back. Write one.")
        return original
    return edited


_NOTHING = object()
