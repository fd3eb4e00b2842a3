"""What strangers may write to a topic: any bytes, and those that come close to what we read."""

from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from django_events.kafka.record import Partition, ReceivedRecord

Value = TypeVar("Value")

GOOD = b'{"account":"ann","number":1}'
STRUCTURED = b"application/cloudevents+json"

_BODIES = [
    GOOD,
    b"",
    b"null",
    b"{}",
    b"[]",
    b"1e999",
    b"[" * 5_000,
    b'"' + b"9" * 5_000,
    b"9" * 5_000,
    b'{"account":"\\ud800","number":1}',
    b'{"account":"\\u0000","number":99999999999999999999}',
    b'\xef\xbb\xbf{"account":"ann","number":1}',
    '{"account":"ann","number":1}'.encode("utf-16"),
    b'{"specversion":"1.0","data":' + GOOD + b"}",
    b'{"specversion":"1.0","data_base64":"eyJ9"}',
    b'{"id":null,"source":[],"data":{},"time":"9999-12-31T23:59:59-23:59","\\u0000":"\\u0000"}',
]
_NAMES = [
    *("ce_id", "CE_ID", "ce_source", "ce_type", "ce_time", "ce_specversion", "ce_subject", "ce_dataschema", "ce_"),
    *("ce_sequence", "ce_ÿ", "content-type", "Content-Type", "", "traceparent"),
]
_LETTER_NAMES = [
    "dead-letter-" + name
    for name in (
        *("id", "handler", "attempts", "exception", "message", "first-failed", "last-failed", "topic", "partition"),
        *("offset", "traceback", "", "ID", "unheard-of"),
    )
]
_NUMBERS = ["dead-letter-attempts", "dead-letter-partition", "dead-letter-offset"]
_VALUES = [
    *(b"", b"\0", b"\xff\xfe", b"1", b"-1", b"1.0", b"9" * 400, "²".encode(), b"\xed\xa0\x80"),
    *(b"9223372036854775807", b"9223372036854775808", b"1e400", b"cure", b"x" * 3_000),
    *(b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59", b"2026-01-02", b"2026-W01-1T25"),
    *(b"application/json", b"application/json; charset=\xff", STRUCTURED, b"application/avro", b"/;=,"),
]


def headers_with(names: list[str]) -> SearchStrategy[list[tuple[str, bytes | None]]]:
    """Headers of these and of any other names, with any values."""
    known = st.sampled_from(names)
    name = known | known | known | st.text(max_size=8)
    value = st.none() | st.sampled_from(_VALUES) | st.binary(max_size=30)
    header = st.tuples(name, value)
    if any(each in names for each in _NUMBERS):
        header |= st.tuples(st.sampled_from(_NUMBERS), st.sampled_from(_VALUES))
    return st.lists(header, max_size=10)


def records(topic: str, *, of_letters: bool = False) -> SearchStrategy[ReceivedRecord]:
    """Any records of the topic; ``of_letters``: with the headers of dead letters, too."""
    return st.builds(
        ReceivedRecord,
        partition=st.builds(Partition, st.just(topic), st.integers(0, 2**31 - 1)),
        offset=st.integers(0, 2**63 - 1),
        key=st.none() | st.binary(max_size=20),
        value=st.none() | st.sampled_from(_BODIES) | st.binary(max_size=60) | _changed_a_little(GOOD),
        headers=headers_with(_NAMES + _LETTER_NAMES * of_letters),
        timestamp=st.none() | st.integers(-(2**63), 2**63 - 1),
        unreadable=st.none() | st.none() | st.none() | st.just("a header's name is not UTF-8"),
    )


def _changed_a_little(body: bytes) -> SearchStrategy[bytes]:
    """The body with one byte replaced by any others."""
    parts = st.tuples(st.integers(0, len(body) - 1), st.binary(max_size=3))
    return parts.map(lambda part: body[: part[0]] + part[1] + body[part[0] + 1 :])


def drawn(strategy: SearchStrategy[Value], count: int) -> list[Value]:
    """So many values, always the same."""
    found: list[Value] = []

    @settings(max_examples=count, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=[*HealthCheck])  # fmt: skip
    @given(strategy)
    def note(value: Value) -> None:
        found.append(value)

    note()
    return found
