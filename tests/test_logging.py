"""Log lines: their fields, the event that is being handled, and how often one is repeated."""

import asyncio
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import django_events
from django_events import Batch, ConsumerGroup, Event, OnFailure, repeats
from django_events.consuming.service import Service
from django_events.following import callbacks
from django_events.kafka import topics
from django_events.log_fields import FIELDS, fields
from django_events.logging import CurrentEvent, about, current_events
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_made
from tests.waiting import wait_for

Consuming = Callable[..., AbstractContextManager[Service]]

ROOT = Path(__file__).parent.parent
TOPIC = "ledger.entry-made"
BODY = b'{"account":"a","number":1}'
LOGGER = logging.getLogger("the.site")


def put(broker: Broker, *ids: str, body: bytes = BODY) -> None:
    topics.create_missing([TOPIC], timeout=60)
    for event_id in ids:
        headers = [("ce_specversion", b"1.0"), ("ce_id", event_id.encode()), ("ce_source", b"shop")]
        broker.put(TOPIC, body, key=b"a", headers=headers, partition=1)


def shown(record: logging.LogRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}


class Notes(logging.Handler):
    """Keeps what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record)


@contextmanager
def noting(nothing: Any = "") -> Iterator[list[logging.LogRecord]]:
    """What a handler of LOGGING with our filter gets."""
    handler = Notes()
    handler.addFilter(CurrentEvent(nothing))
    logging.getLogger().addHandler(handler)
    try:
        yield handler.found
    finally:
        logging.getLogger().removeHandler(handler)


def lines(records: list[logging.LogRecord], text: str) -> list[logging.LogRecord]:
    return [record for record in records if text in record.getMessage()]


def an_event(event_id: str = "e-1", offset: int = 7, handler: str = "book") -> Event[dict[str, int]]:
    return Event(
        topic="shop.order-placed",
        key="1",
        payload={},
        data=b"{}",
        content_type="application/json",
        id=event_id,
        source="shop",
        type="shop.order-placed",
        subject=None,
        time=None,
        dataschema=None,
        partition=3,
        offset=offset,
        group="billing",
        handler=handler,
        attempt=2,
    )


# ── fields ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_fields_are_no_attributes_of_a_log_record() -> None:
    record = logging.makeLogRecord({})
    assert not [name for name in FIELDS if hasattr(record, name)]
    assert "message" not in FIELDS
    assert "asctime" not in FIELDS


def test_a_field_that_is_not_known_is_left_out_and_an_id_is_made_readable() -> None:
    assert fields(event="a\n" + "x" * 200, topic="t", partition=0, group="") == {
        "event_id": "a\\n" + "x" * 97,
        "event_topic": "t",
        "event_partition": 0,
    }


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_line_about_a_failure_has_all_fields(
    broker: Broker, declarations: None, consuming: Consuming, caplog: pytest.LogCaptureFixture
) -> None:
    put(broker, "e-17")
    group = ConsumerGroup("fielded")

    @group.idempotent(entry_made, on_failure=OnFailure.DISCARD, retry=False)
    def fail(event: Event[EntryMade]) -> None:
        raise ValueError("no")

    with consuming(group) as service:
        wait_for(lambda: service.records_done == 1)
    (line,) = lines(caplog.records, "Handler fielded/fail failed")
    assert shown(line) == {
        "event_id": "e-17",
        "event_topic": TOPIC,
        "event_partition": 1,
        "event_offset": 0,
        "event_group": "fielded",
        "event_handler": "fail",
        "event_attempt": 1,
    }


# ── the event that is being handled ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.parametrize("kind", ["exactly_once", "idempotent"])
def test_the_sites_own_lines_have_the_event_of_their_handler(
    broker: Broker, declarations: None, consuming: Consuming, kind: str
) -> None:
    put(broker, "e-1", "e-2")
    group = ConsumerGroup("own")

    async def look_up() -> None:
        LOGGER.warning("in a task")

    def handle(event: Event[EntryMade]) -> None:
        LOGGER.warning("handling %s", event.id)
        asyncio.run(look_up())

    getattr(group, kind)(entry_made)(handle)
    with noting() as found, consuming(group) as service:
        wait_for(lambda: service.records_done == 2)
        LOGGER.warning("elsewhere")
    for text in ("handling", "in a task"):
        assert [shown(line) for line in lines(found, text)] == [
            {
                "event_id": event_id,
                "event_topic": TOPIC,
                "event_partition": 1,
                "event_offset": offset,
                "event_group": "own",
                "event_handler": "handle",
                "event_attempt": 1,
            }
            for offset, event_id in enumerate(["e-1", "e-2"])
        ]
    (elsewhere,) = lines(found, "elsewhere")
    assert shown(elsewhere) == dict.fromkeys(FIELDS, "")


@pytest.mark.kafka
@pytest.mark.postgres
def test_lines_of_a_batch_have_what_its_events_have_in_common(
    broker: Broker, declarations: None, consuming: Consuming
) -> None:
    put(broker, "e-1", "e-2")
    group = ConsumerGroup("batches")

    @group.exactly_once(entry_made, batch=Batch(size=2, wait=30))
    def handle(events: list[Event[EntryMade]]) -> None:
        assert list(current_events()) == events
        LOGGER.warning("the whole batch")
        for event in events:
            with about(event):
                LOGGER.warning("an event of the batch")

    with noting(None) as found, consuming(group) as service:
        wait_for(lambda: service.records_done == 2)
    (line,) = lines(found, "the whole batch")
    assert (shown(line)["event_handler"], shown(line)["event_topic"]) == ("handle", TOPIC)
    assert (shown(line)["event_id"], shown(line)["event_offset"]) == (None, None)
    assert [shown(line)["event_id"] for line in lines(found, "an event of the batch")] == ["e-1", "e-2"]


def test_a_line_that_is_about_an_event_already_is_not_mixed_with_another() -> None:
    with noting() as found, about(an_event("e-1")):
        LOGGER.warning("about another", extra=fields(event="e-2", topic="t"))
    (line,) = lines(found, "about another")
    assert shown(line) == dict.fromkeys(FIELDS, "") | {"event_id": "e-2", "event_topic": "t"}


def test_inside_of_about_and_after_it() -> None:
    with noting() as found:
        with about(an_event("e-1")):
            with about(an_event("e-2")):
                LOGGER.warning("")
            LOGGER.warning("")
        LOGGER.warning("")
    assert [shown(line)["event_id"] for line in found if line.name == LOGGER.name] == ["e-2", "e-1", ""]


def test_callbacks_of_subscriptions_have_their_event() -> None:
    subscription: Any = SimpleNamespace(callback=lambda event: LOGGER.warning("called"))
    with noting() as found:
        callbacks._call(subscription, an_event("e-1"))
    assert [shown(line)["event_id"] for line in lines(found, "called")] == ["e-1"]


def test_the_pages_example_works_as_it_stands() -> None:
    page = (ROOT / "docs" / "log-lines.md").read_text()
    (example,) = [code for code in re.findall(r"```python\n(.*?)```", page, re.S) if code.startswith("LOGGING")]
    code = (
        "import django; from django.conf import settings\n"
        f"{example}\n"
        "settings.configure(LOGGING=LOGGING, INSTALLED_APPS=['django_events']); django.setup()\n"
        "import logging; from django_events.logging import about; from tests.test_logging import an_event\n"
        "with about(an_event('e-9', handler='make_invoice')): logging.getLogger('shop').info('made')\n"
        "logging.getLogger('shop').info('idle')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == ["INFO shop [make_invoice e-9] made", "INFO shop [- -] idle"]


# ── repeats ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_lines_of_one_kind_are_counted_after_the_first(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def say(kind: str) -> None:
        repeats.log(LOGGER, logging.ERROR, kind, "%s fails", kind, extra={"event_topic": kind})

    for _ in range(25):
        say("a")
    say("b")
    texts = [record.getMessage() for record in caplog.records]
    assert texts[:9] == ["a fails"] * 9
    assert re.fullmatch(r"a fails \(more like this are only counted for the next \d+ s\)", texts[9])
    assert texts[10:] == ["b fails"]
    assert caplog.records[0].funcName == "say"
    assert shown(caplog.records[0]) == {"event_topic": "a"}
    for window in repeats._windows.values():
        window.until = 0.0
    say("a")
    assert caplog.records[-1].getMessage() == "a fails (15 more like this were not logged)"


def test_of_many_kinds_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "KINDS", 100)
    for number in range(10_000):
        repeats.log(LOGGER, logging.DEBUG, number, "once")
    assert len(repeats._windows) == 100


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_topic_that_cannot_be_read_does_not_fill_the_log(
    broker: Broker, declarations: None, consuming: Consuming, caplog: pytest.LogCaptureFixture
) -> None:
    topics.create_missing([TOPIC], timeout=60)
    broker.put_many(TOPIC, [b"no json"] * 300, key=b"a", partition=1)
    group = ConsumerGroup("flooded")

    @group.idempotent(entry_made, on_failure=OnFailure.DISCARD)
    def handle(event: Event[EntryMade]) -> None: ...

    with consuming(group) as service:
        wait_for(lambda: service.records_done == 300)
    logged = lines(caplog.records, "Handler flooded/handle failed")
    assert len(logged) >= repeats.MOST
    assert len(logged) <= 3 * repeats.MOST, "ten a minute"
    assert "more like this are only counted" in logged[repeats.MOST - 1].getMessage()


def test_the_page_has_every_logger() -> None:
    sources = [path.read_text() for path in Path(django_events.__file__).parent.rglob("*.py")]
    names = {name for source in sources for name in re.findall(r'getLogger\("([^"]+)"\)', source)}
    page = (ROOT / "docs" / "logging.md").read_text()
    assert len(names) > 8
    rows = [line for line in page.splitlines() if line.startswith("| `django_events.")]
    assert not [name for name in sorted(names) if not any(f"`{name}`" in row for row in rows)]
