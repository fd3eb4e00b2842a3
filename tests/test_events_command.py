"""``manage.py events dead-letters``: what operators see and do from the shell."""

import base64
import io
import json
import os
import subprocess
import sys
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from django_events.consuming import repair
from django_events.management.dead_letters import acting, exporting, listing, selection
from django_events.management.table import Column, Table
from django_events.models import DeadLetter, DeadLetterAttempt, Failure, State
from tests.letters import a_letter, project
from tests.processes import ROOT

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOSTILE = "a\nb\x1b[2J\r\x9b\u202e\0<script>"


def letter(**given: Any) -> DeadLetter:
    """A dead letter as the reader saves it, of an order that billing could not bill."""
    fields: dict[str, Any] = {
        "topic": "shop.order-placed",
        "group_name": "billing",
        "handler": "make_invoice",
        "partition": 1,
        "offset": 7,
        "key": b"42",
        "key_text": "42",
        "value": b'{"order_id":42,"customer":"ann","total":"0.00"}',
        "headers": [("ce_id", b"1"), ("ce_source", b"shop"), ("tenant", b"blue")],
        "first_failed": NOON - timedelta(minutes=5),
        "last_failed": NOON,
        "exception": "billing.CannotBill",
        "message": "order 42 has nothing to bill",
        "traceback": 'Traceback (most recent call last):\n  File "handlers.py", line 1\nbilling.CannotBill',
        "automatic": False,
    }
    return project(replace(a_letter(), **fields | given))[-1]


def run(*arguments: object) -> str:
    """What ``manage.py events dead-letters`` says on stdout."""
    return outputs(*arguments)[0]


def outputs(*arguments: object) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("events", "dead-letters", *map(str, arguments), stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def listed(*arguments: object) -> list[int]:
    """The ids of the letters that ``list --json`` gives."""
    return [json.loads(line)["id"] for line in run("list", "--json", *arguments).splitlines()]


# ── list ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_table_shows_the_open_letters_and_the_one_that_failed_last_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    older, newer = letter(), letter(last_failed=NOON + timedelta(seconds=1), message="another error")
    repair.discard([letter().pk], "a test", "ann")
    heading, *lines = run("list").splitlines()
    assert heading.split() == ["ID", "STATE", "LAST", "FAILURE", "TRIES", "TOPIC", "HANDLER", "KEY", "ERROR"]
    assert [line.split()[0] for line in lines] == [str(newer.pk), str(older.pk)]
    assert "waiting" in lines[0]
    assert "2026-03-01 12:00:01" in lines[0]
    assert "billing/make_invoice" in lines[0]
    assert lines[0].endswith("  CannotBill: another error")


@pytest.mark.parametrize("width", [40, 80, 100, 160])
def test_the_table_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    letter(key_text="k" * 200, message="m" * 500)
    letter(key_text="漢字" * 50, message="é" * 500)
    lines = run("list").splitlines()
    assert len(lines) == 3
    assert all(len(line) <= max(width, 82) for line in lines)
    assert "…" in lines[1]


def test_a_column_is_left_out_where_the_terminal_is_too_narrow() -> None:
    columns = [Column(title="ID"), Column(title="TOPIC", least=10, optional=True), Column(title="ERROR", least=10)]
    table = Table(columns, 20)
    assert list(table.lines([["1", "t" * 30, "e" * 30]])) == ["ID  ERROR", "1   eeeeeeeeeeeeeee…"]


def test_a_list_that_is_cut_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "ROWS", 2)
    for _ in range(3):
        letter()
    out, err = outputs("list")
    assert len(out.splitlines()) == 3
    assert "These are 2 of 3 dead letters that match" in err
    assert len(listed()) == 3, "programs get all"


def test_a_list_of_nothing_says_so() -> None:
    assert outputs("list") == ("", "No dead letter matches.\n")
    assert outputs("list", "--json") == ("", "No dead letter matches.\n")


@pytest.mark.parametrize(
    ("field", "given", "arguments"),
    [
        ("topic", {"topic": "other"}, ("--topic", "other")),
        ("group", {"group_name": "other"}, ("--group", "other")),
        ("handler", {"handler": "other"}, ("--handler", "other")),
        ("handler of a group", {"group_name": "other"}, ("--handler", "other/make_invoice")),
        ("key", {"key": b"7", "key_text": "7"}, ("--key", "7")),
        ("long key", {"key": b"7" * 300, "key_text": "7" * 200}, ("--key", "7" * 300)),
        ("key of bytes", {"key": b"\xff", "key_text": "\\xff"}, ("--key", "\udcff")),
        ("event id", {"event_id": "other"}, ("--event-id", "other")),
        ("error's text", {"message": "No CUSTOMER"}, ("--error", "customer")),
        ("error's type", {"exception": "KeyError"}, ("--error", "keyerr")),
        ("since", {"last_failed": NOON + timedelta(hours=1)}, ("--failed-since", "2026-03-01T12:30")),
        ("before", {"last_failed": NOON - timedelta(hours=1)}, ("--failed-before", "2026-03-01T12:30:00+01:00")),
    ],
)
def test_filters(field: str, given: dict[str, Any], arguments: tuple[str, ...]) -> None:
    wanted, _other = letter(**given), letter()
    assert listed(*arguments) == [wanted.pk]


def test_a_long_key_is_compared_to_its_end() -> None:
    letter(key=b"7" * 299 + b"8", key_text="7" * 200)
    assert listed("--key", "7" * 300) == []


def test_filters_by_state_id_and_number() -> None:
    first, second, third = letter(), letter(), letter()
    repair.discard([first.pk], "a test", "ann")
    assert listed("--state", "discarded") == [first.pk]
    assert listed("--state", "all") == [third.pk, second.pk, first.pk]
    assert listed("--id", first.pk, "--id", third.pk) == [third.pk, first.pk]
    assert listed("--limit", "1") == [third.pk]
    assert listed("--state", "waiting", "--topic", "shop.order-placed") == [third.pk, second.pk]


def test_long_walks_are_made_of_chunks() -> None:
    rows = [letter(last_failed=NOON + timedelta(seconds=number % 3)).pk for number in range(7)]
    letters = DeadLetter.objects.all()
    by_id = [[each.pk for each in chunk] for chunk in selection.oldest_first(letters, 3, None)]
    assert by_id == [rows[:3], rows[3:6], rows[6:]]
    by_time = [each.pk for chunk in selection.last_failed_first(letters, 3, None) for each in chunk]
    assert by_time == list(letters.order_by("-last_failed", "-pk").values_list("pk", flat=True))
    assert [len(chunk) for chunk in selection.oldest_first(letters, 3, 4)] == [3, 1]
    assert [len(chunk) for chunk in selection.last_failed_first(letters, 3, 3)] == [3]


def test_what_comes_during_a_walk_is_not_part_of_it() -> None:
    rows = [letter().pk for _ in range(2)]
    seen = []
    for chunk in selection.oldest_first(DeadLetter.objects.all(), 1, None):
        seen += [each.pk for each in chunk]
        letter()
    assert seen == rows


# ── show ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_show_tells_everything() -> None:
    row = letter()
    shown = run("show", row.pk)
    for text in (
        f"Dead letter {row.pk}",
        "billing/make_invoice",
        "billing.CannotBill: order 42 has nothing to bill",
        "when you say so",
        "partition 1, offset 7",
        "tenant  blue",
        '"total": "0.00"',
        "2026-03-01 12:00:00 UTC, 3 attempts since 2026-03-01 11:55:00 UTC",
        '    File "handlers.py", line 1',
    ):
        assert text in shown
    assert "problem" not in shown


def test_show_tells_what_was_edited_and_tried() -> None:
    row = letter()
    repair.edit(row, '{"order_id": 42, "customer": "ann", "total": "9.90"}')
    for number in range(3):
        DeadLetterAttempt.objects.create(
            letter=row, began=NOON, ended=NOON + timedelta(seconds=number), host=f"host-{number}"
        )
    shown = run("show", row.pk, "--attempts", 2)
    assert shown.index("Payload, as it was edited") < shown.index('"9.90"') < shown.index("Payload, as it came")
    assert "without the 2 before them" in shown
    assert "host-0" not in shown
    assert shown.index("on host-1: handled") < shown.index("on host-2: handled")


def test_show_says_that_nobody_handles_the_letter() -> None:
    shown = run("show", letter(handler="gone").pk)
    assert "The handler billing/gone is not declared on this site" in shown


def test_show_as_json() -> None:
    row = letter()
    (line,) = run("show", row.pk, "--json").splitlines()
    shown = json.loads(line)
    assert shown["id"] == row.pk
    assert shown["body"]["text"] == '{"order_id":42,"customer":"ann","total":"0.00"}'
    assert shown["headers"][-1] == ["tenant", {"base64": base64.b64encode(b"blue").decode(), "text": "blue"}]
    assert shown["tries"][0]["traceback"].startswith("Traceback")


def test_show_of_a_letter_that_is_not_there() -> None:
    with pytest.raises(CommandError, match="No dead letter has the id 4711. See: manage.py events"):
        run("show", 4711)


# ── retry and discard ────────────────────────────────────────────────────────────────────────────────────────────────


def test_retry_makes_letters_due() -> None:
    row, other = letter(), letter(key=b"7", key_text="7")
    assert run("retry", "--key", "42") == "1 dead letter matches\n1 dead letter due now\n"
    row.refresh_from_db()
    other.refresh_from_db()
    assert row.due_at is not None
    assert other.due_at is None


def test_discard_keeps_who_and_why() -> None:
    row = letter()
    assert run("discard", "--all", "--reason", "a test order") == "1 dead letter matches\n1 dead letter discarded\n"
    row.refresh_from_db()
    assert (row.state, row.reason, row.closed_by) == (
        State.DISCARDED,
        "a test order",
        acting.operating_system_user(),
    )
    assert Failure.objects.get().letters_open == 0


@pytest.mark.parametrize("verb", [("retry",), ("discard", "--reason", "a test")])
@pytest.mark.parametrize("more", [(), ("--state", "waiting"), ("--limit", "5")])
def test_nothing_is_done_to_all_by_a_slip(verb: tuple[str, ...], more: tuple[str, ...]) -> None:
    row = letter()
    with pytest.raises(CommandError, match="Give a filter .* or say so with --all"):
        run(*verb, *more)
    assert unchanged(row)


@pytest.mark.parametrize("verb", [("retry",), ("discard", "--reason", "a test")])
def test_a_dry_run_changes_nothing(verb: tuple[str, ...]) -> None:
    row = letter()
    assert run(*verb, "--all", "--dry-run") == "1 dead letter matches\n"
    assert json.loads(run(*verb, "--all", "--dry-run", "--json"))["matching"] == 1
    assert unchanged(row)


def test_what_is_left_alone_is_said() -> None:
    closed, running, waiting = letter(), letter(), letter()
    repair.discard([closed.pk], "a test", "ann")
    DeadLetter.objects.filter(pk=running.pk).update(state=State.RUNNING, lease=uuid.uuid4())
    arguments = ("retry", "--id", closed.pk, "--id", running.pk, "--id", waiting.pk)
    assert run(*arguments).splitlines() == [
        "3 dead letters match",
        "1 dead letter due now",
        "left alone: 1 dead letter resolved or discarded already",
        "left alone: 1 dead letter that somebody runs or changes right now",
    ]
    assert json.loads(run(*arguments, "--json")) == {
        "matching": 3,
        "dry_run": False,
        "done": 1,
        "closed": 1,
        "running": 1,
        "undeclared": [],
    }


def test_letters_of_a_handler_that_is_gone_are_kept_and_can_be_discarded() -> None:
    row, other = letter(handler="gone"), letter()
    with pytest.raises(CommandError, match="the letters of billing/gone, which this site does not declare"):
        run("retry", "--all")
    other.refresh_from_db()
    assert other.due_at is not None
    assert unchanged(row)
    run("discard", "--id", row.pk, "--reason", "the handler is gone")
    row.refresh_from_db()
    assert row.state == State.DISCARDED


def test_many_letters_are_done_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acting, "CHUNK", 2)
    for _ in range(5):
        letter()
    assert "5 dead letters discarded" in run("discard", "--all", "--reason", "a test")


def test_a_limit_takes_the_oldest() -> None:
    first, second = letter(), letter()
    assert "1 dead letter matches" in run("discard", "--all", "--limit", "1", "--reason", "a test")
    first.refresh_from_db()
    assert first.state == State.DISCARDED
    assert unchanged(second)


def test_an_interrupted_action_says_how_far_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acting, "CHUNK", 1)
    rows = [letter(), letter()]
    real = repair.retry

    def interrupted(ids: list[int]) -> Any:
        if ids == [rows[1].pk]:
            raise KeyboardInterrupt
        return real(ids)

    monkeypatch.setattr(repair, "retry", interrupted)
    with pytest.raises(CommandError, match="Interrupted after 1 dead letter; 1 of them done"):
        run("retry", "--all")


def unchanged(row: DeadLetter) -> bool:
    before = (row.state, row.due_at, row.closed_at)
    row.refresh_from_db()
    return before == (row.state, row.due_at, row.closed_at)


# ── export ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_export_has_every_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "CHUNK", 1)
    first = letter(key=b"\xff\n", value=b"\xfe\0", headers=[("a", None), ("a", b"\xff"), ("b", b"")])
    second = letter(key=None, key_text=None, value=None)
    lines = [json.loads(line) for line in run("export").splitlines()]
    assert [line["id"] for line in lines] == [first.pk, second.pk]
    assert lines[0]["key"] == {"base64": base64.b64encode(b"\xff\n").decode(), "text": None}
    assert base64.b64decode(lines[0]["body"]["base64"]) == b"\xfe\0"
    assert lines[0]["headers"][0] == ["a", None]
    assert [base64.b64decode(value["base64"]) for _, value in lines[0]["headers"][1:]] == [b"\xff", b""]
    assert lines[1]["key"] is None
    assert lines[1]["body"] is None
    assert lines[0]["redacted"] is False


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    letter(value=b"x" * 1_000_000)  # more than a pipe holds
    database = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
    command = [sys.executable, "manage.py", "events", "dead-letters", "export"]
    env = {**os.environ, "DATABASE_URL": database}
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        assert process.stdout.read(5) == b'{"id"'
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


# ── what nobody may see, and what would harm a terminal ──────────────────────────────────────────────────────────────

SECRET = b"ann@example.com"
STRUCTURED = [("content-type", b"application/cloudevents+json")]


@pytest.fixture
def secretive(settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "REDACT": ["customer.email", "customer.pin", "authorization"]}


def secret_letter(**given: Any) -> DeadLetter:
    return letter(
        **{
            "key": SECRET,
            "key_text": SECRET.decode(),
            "value": b'{"customer":{"email":"%s","pin":7},"total":1}' % SECRET,
            "headers": [("ce_subject", SECRET), ("Authorization", b"Bearer 12345")],
            "message": f"no customer {SECRET.decode()}",
            "traceback": f"CannotBill: {SECRET.decode()} with Bearer 12345",
            **given,
        }
    )


def test_what_the_setting_hides_is_not_printed(secretive: None) -> None:
    row = secret_letter()
    DeadLetter.objects.filter(pk=row.pk).update(edited_value=row.value)
    printed = [run("list"), run("list", "--json"), run("show", row.pk), run("show", row.pk, "--json"), run("export")]
    encoded = [base64.b64encode(SECRET).decode(), base64.b64encode(b"Bearer 12345").decode()]
    for text in printed:
        assert not any(secret in text for secret in ("ann@", "12345", '"pin": 7', *encoded)), text
    told = json.loads(printed[-1])
    assert told["redacted"] is True
    assert json.loads(told["body"]["text"]) == {"customer": {"email": "[redacted]", "pin": "[redacted]"}, "total": 1}


def test_short_values_are_hidden_too(secretive: None, settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "REDACT": ["customer.pin", "ce_subject", "ce_tenant"]}
    row = secret_letter(headers=[("ce_subject", b"q7z"), ("ce_tenant", b"x8y"), ("ce_specversion", b"1.0")])
    shown = run("show", row.pk)
    assert "q7z" not in shown and "x8y" not in shown
    row.delete()
    secret_letter(value=b'{"customer":{"pin":7}}', headers=[])
    assert json.loads(json.loads(run("export"))["body"]["text"]) == {"customer": {"pin": "[redacted]"}}


def test_what_the_setting_hides_is_hidden_in_every_content_mode(secretive: None) -> None:
    body = b'{"id":"1","source":"s","data":{"customer":{"email":"%s"}}}' % SECRET
    secret_letter(value=body, headers=STRUCTURED)
    secret_letter(headers=[("content-type", b"text/plain")])
    secret_letter(value=body.replace(b'"id"', b'"datacontenttype":"text/plain","id"'), headers=STRUCTURED)
    exported = [json.loads(line)["body"] for line in run("export").splitlines()]
    assert len(exported) == 3
    assert not any(SECRET in base64.b64decode(each["base64"]) for each in exported)
    assert json.loads(exported[0]["text"])["data"] == {"customer": {"email": "[redacted]"}}


def test_export_unredacted_has_all(secretive: None) -> None:
    row = secret_letter()
    told = json.loads(run("export", "--unredacted"))
    assert base64.b64decode(told["body"]["base64"]) == bytes(row.value or b"")
    assert told["headers"][1][1]["text"] == "Bearer 12345"
    assert told["redacted"] is False


def test_nothing_from_an_event_moves_the_cursor_or_forges_a_line() -> None:
    shown = HOSTILE.replace("\0", "\\0")
    row = letter(
        key=HOSTILE.encode(),
        key_text=shown,
        event_id=shown,
        exception=shown,
        message=shown,
        traceback=f"Traceback\n{shown}",
        value=json.dumps({"a": HOSTILE}, ensure_ascii=False).encode(),
        headers=[("ce_subject", HOSTILE.encode()), (HOSTILE, HOSTILE.encode()), ("bytes", b"\xff\xfe")],
    )
    lines = run("list").splitlines()
    assert len(lines) == 2
    printed = [*lines, *run("show", row.pk).split("\n"), *run("show", row.pk, "--json").splitlines()]
    printed += [*run("list", "--json").splitlines(), *run("export").splitlines()]
    assert all(line.isprintable() for line in printed), [line for line in printed if not line.isprintable()]
    assert not [line for line in printed if line.startswith("b\\x1b")]
    assert json.loads(run("list", "--json"))["key"] == shown


@pytest.mark.parametrize(
    "given",
    [
        {"value": b"\xff\xfe\0binary"},
        {"value": b"[" * 100_000},
        {"value": None, "key": None, "key_text": None, "headers": []},
        {"value": b"not json", "headers": STRUCTURED},
        {"value": b'{"a": "%s"}' % (b"x" * 1_000_000)},
        {"headers": [("ce_time", b"soon"), ("ce_id", b"\xff"), ("", b"")]},
    ],
    ids=["binary", "deep", "empty", "broken CloudEvent", "a megabyte", "odd headers"],
)
def test_every_verb_stands_every_event(given: dict[str, Any], secretive: None) -> None:
    row = letter(**given)
    assert str(row.pk) in run("list")
    assert f"Dead letter {row.pk}" in run("show", row.pk)
    assert json.loads(run("show", row.pk, "--json"))["id"] == row.pk
    assert json.loads(run("export"))["id"] == row.pk


@pytest.mark.parametrize("option", ["--topic", "--group", "--handler", "--key", "--event-id", "--error"])
def test_filters_stand_what_is_no_utf8(option: str) -> None:
    letter()
    assert listed(option, "\udcff") == []


# ── what is typed ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("list", "--failed-since", "yesterday"), "'yesterday' is not a time, such as 2026-01-31"),
        (("list", "--failed-since", "9999-12-31T23:59:59-12:00"), "is not a time"),
        (("list", "--id", "seven"), "'seven' is not the number of a row"),
        (("list", "--id", str(2**63)), "is not the number of a row"),
        (("list", "--limit", "0"), "'0' is not a whole number from 1"),
        (("list", "--state", "dead"), "invalid choice: 'dead'"),
        (("list", "--id", "4711"), "No dead letter has the id 4711"),
        (("discard", "--all"), "required: --reason"),
        (("discard", "--all", "--reason", " "), "--reason: it is empty"),
        (("retry", "--error", ""), "--error: it is empty"),
        (("retry", "--handler", ""), "--handler: it is empty"),
        (("repair",), "invalid choice: 'repair'"),
        ((), "required: VERB"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: tuple[str, ...], text: str) -> None:
    with pytest.raises(CommandError) as refused:
        run(*arguments)
    assert text in str(refused.value)


def test_djangos_own_options_may_stand_at_the_end() -> None:
    letter()
    assert run("retry", "--all", "--no-color", "--traceback", "--settings", "tests.settings")
