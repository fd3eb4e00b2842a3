"""What is kept of an exception: whatever it does, it becomes text that every database and header can carry."""

import json
from typing import Any

import pytest

from django_events import redaction
from django_events.consuming.failure_report import LONGEST_MESSAGE, LONGEST_TRACEBACK, describe, fingerprint
from django_events.exceptions import DecodeError
from django_events.kafka.record import Partition, ReceivedRecord

RECORD = ReceivedRecord(
    Partition("t", 0), 0, b"k", b'{"card":{"number":"4111-1111","month":12},"name":"ann"}', [("token", b"s3cr3t")], None
)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_a_report_names_the_exception_and_where_it_was_raised() -> None:
    report = describe(raised(DecodeError("not JSON")), RECORD)
    assert (report.exception, report.message) == ("django_events.exceptions.DecodeError", "not JSON")
    assert "in raised" in report.traceback
    assert describe(KeyError("x"), RECORD).exception == "KeyError"


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "é" * 10_000, ""])
def test_odd_texts_become_ones_that_can_be_kept(text: str) -> None:
    report = describe(raised(ValueError(text)), RECORD)
    for kept in (report.message, report.traceback):
        assert "\0" not in kept
        kept.encode()
    assert len(report.message) <= LONGEST_MESSAGE


def test_exceptions_that_cannot_be_told_are_told_all_the_same() -> None:
    report = describe(raised(Unspeakable()), RECORD)
    assert "its text cannot be had: RuntimeError" in report.message


def test_a_long_traceback_keeps_its_ends() -> None:
    def fall(depth: int) -> None:
        if depth:
            fall(depth - 1)
        raise ValueError("x" * LONGEST_TRACEBACK)

    try:
        fall(3)
    except ValueError as error:
        report = describe(error, RECORD)
    assert len(report.traceback) <= LONGEST_TRACEBACK
    assert report.traceback.startswith("Traceback")
    assert report.traceback.endswith("x\n")


def test_what_is_to_be_hidden_is_in_no_report(settings: Any) -> None:
    settings.DJANGO_EVENTS = settings.DJANGO_EVENTS | {"REDACT": ["card.number", "Token"]}
    report = describe(raised(ValueError("card 4111-1111 of ann with s3cr3t, month 12")), RECORD)
    assert report.message == "card [redacted] of ann with [redacted], month 12"
    assert "4111" not in report.traceback and "s3cr3t" not in report.traceback


@pytest.mark.parametrize("write", [str, repr, lambda name: repr(f"\"it's {name}"), json.dumps, ascii])
def test_what_is_hidden_is_hidden_however_it_is_written(settings: Any, write: Any) -> None:
    settings.DJANGO_EVENTS = settings.DJANGO_EVENTS | {"REDACT": ["name"]}
    name = "Zoë O'Brien\n\\"
    record = RECORD._replace(value=json.dumps({"name": name}).encode())
    report = describe(ValueError(f"no {write(name)} here"), record)
    assert "Brien" not in report.message + report.traceback
    assert "Zo" not in report.message + report.traceback


def test_hidden_places_of_a_deep_payload_are_found(settings: Any) -> None:
    """Whoever may write to the topic can send such a thing; a report that fails would end its worker."""
    settings.DJANGO_EVENTS = settings.DJANGO_EVENTS | {"REDACT": ["card"]}
    payload: Any = "4111-1111"
    for _ in range(5_000):
        payload = {"in": [payload]}
    assert redaction.secrets({"card": payload}, []) == {"4111-1111"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("order 17 is unknown", "order 23456 is unknown"),
        ("no 'ann' here", "no 'bob' here"),
        ('no "ann" here', 'no "bob" here'),
        ("id 3f2504e0-4f89-11d3-9a0c-0305e82c3301", "id 9b2504e0-4f89-11d3-9a0c-0305e82c3301"),
        ("same\nDETAIL: 1", "same\nDETAIL: other"),
    ],
)
def test_failures_that_differ_in_numbers_and_names_are_alike(one: str, other: str) -> None:
    assert fingerprint("g", "h", "t", "E", one) == fingerprint("g", "h", "t", "E", other)


def test_failures_of_other_handlers_topics_and_kinds_are_not_alike() -> None:
    same = ("g", "h", "t", "E", "text")
    for at in range(5):
        other = [*same]
        other[at] = "else"
        assert fingerprint(*same) != fingerprint(*other)
