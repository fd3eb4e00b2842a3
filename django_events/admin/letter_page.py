"""Everything that the page of one dead letter shows."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.utils.translation import gettext as _

from django_events import redaction
from django_events.admin import payloads, wording
from django_events.admin.policies import policy_in_words
from django_events.admin.texts import key_in_words
from django_events.cloudevents import CORE, Attributes
from django_events.conf import settings
from django_events.consuming.bodies import printable
from django_events.consuming.letters import declared_handlers, handler_of, original_record, secrets_of
from django_events.exceptions import DeclarationError
from django_events.kafka import names
from django_events.models import DeadLetter, DeadLetterAttempt
from django_events.models.windows import window

TRIES = 50
"""Attempts that a page shows, the newest first."""

Rows = list[tuple[str, str]]


class Try(NamedTuple):
    """What is known of one or more tries."""

    row: DeadLetterAttempt
    message: str
    traceback: str


class Secrets(NamedTuple):
    """What only those see who may see payloads."""

    message: str
    payloads: list[tuple[bool, payloads.Shown]]
    """The original and, if there is one, the edited one (True)."""
    attributes: Rows
    unreadable: str
    """Why the record cannot be read; empty if it can."""
    headers: Rows


def describe(letter: DeadLetter, *, sees_payload: bool) -> dict[str, Any]:
    """The page's context. Asks the database for what is bounded only."""
    hidden = secrets_of(letter)
    tries, are_all = _tries(letter, hidden)
    return {
        "letter": letter,
        "situation": wording.situation(letter),
        "undeclared": wording.undeclared(letter) if letter.is_open else "",
        "next_try": wording.next_try(letter, declared_handlers()),
        "key": key_in_words(letter.key_text),
        "secrets": _secrets(letter, hidden) if sees_payload else None,
        "tries": tries,
        "are_all_tries": are_all,
        "positions": _positions(letter),
        "policy": _policy(letter),
        "log": _log(letter),
    }


def _secrets(letter: DeadLetter, hidden: Iterable[str]) -> Secrets:
    attributes = payloads.attributes_of(original_record(letter))
    versions = [False] if letter.edited_value is None else [True, False]
    return Secrets(
        message=redaction.text(printable(letter.message), hidden),
        payloads=[(edited, payloads.shown(payloads.payload_of(letter, edited=edited))) for edited in versions],
        attributes=[] if isinstance(attributes, str) else _attributes(attributes),
        unreadable=printable(attributes) if isinstance(attributes, str) else "",
        headers=_headers(letter, attributes),
    )


def _attributes(attributes: Attributes) -> Rows:
    """The CloudEvents attributes that there are; hidden by the names of the headers that carry them."""
    texts = {name: getattr(attributes, name) for name in (*CORE, "content_type")} | dict(attributes.extensions)
    pairs = [(f"ce_{name}", str(text)) for name, text in texts.items() if text is not None]
    return [(name.removeprefix("ce_"), text) for name, text in _shown(pairs)]


def _headers(letter: DeadLetter, attributes: Attributes | str) -> Rows:
    """All other headers, or simply all if the record cannot be read."""
    if not isinstance(attributes, str):
        return _shown(attributes.headers)
    return _shown([(name, None if value is None else value.decode("utf-8", "backslashreplace"))
                   for name, value in letter.header_list])  # fmt: skip


def _shown(pairs: redaction.Pairs) -> Rows:
    return [(printable(name), "–" if text is None else printable(text)) for name, text in redaction.headers(pairs)]


def _tries(letter: DeadLetter, hidden: Iterable[str]) -> tuple[list[Try], bool]:
    found = window(
        DeadLetterAttempt.objects.using(letter._state.db or "default"), ["letter_id"], [letter.pk], [letter.pk]
    )
    newest = list(found.order_by("-ended", "-pk")[: TRIES + 1])
    tries = [Try(row, *(redaction.text(printable(text), hidden) for text in (row.message, row.traceback)))
             for row in newest[:TRIES]]  # fmt: skip
    return tries, len(newest) <= TRIES


def _positions(letter: DeadLetter) -> list[tuple[str, str]]:
    """Where in Kafka the event and its letter are, as Kafka's own tools name the topics."""
    letters = names.dead_letter_topic(letter.topic, letter.group_name)
    return [
        (_("Event"), f"{settings.PREFIX}{letter.topic}[{letter.partition}]@{letter.offset}"),
        (_("Dead letter"), f"{settings.PREFIX}{letters}[{letter.letter_partition}]@{letter.letter_offset}"),
    ]


def _policy(letter: DeadLetter) -> Rows:
    try:
        return policy_in_words(handler_of(letter))
    except DeclarationError:
        return []


def _log(letter: DeadLetter) -> list[LogEntry]:
    """What people did to the letter, as far as it is among the newest lines of the log, which has no index for it."""
    content_type = ContentType.objects.get_for_model(DeadLetter)
    lines = window(LogEntry.objects.select_related(None), ["id"])
    return list(lines.filter(content_type=content_type, object_id=str(letter.pk)).order_by("-pk")[:TRIES])
