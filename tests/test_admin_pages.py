"""What the admin's pages show, to whom, and that they stand whatever is in an event."""

import json
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from django_events.admin.date_links import date_links
from django_events.admin.payloads import SHOWN
from django_events.consuming import repair
from django_events.kafka.record import Record
from django_events.models import DeadLetter, Failure, OutgoingEvent, ProcessedEvent
from tests.admin_letters import CLOUD_EVENT, letter, saved, saved_letter

pytestmark = pytest.mark.django_db

ADMIN = "/admin/django_events/"
LETTERS = f"{ADMIN}deadletter/"
XSS = "<script>alert(1)</script>"


def login(client: Client, *codenames: str) -> User:
    """A member of the staff with these permissions of ours."""
    user = User.objects.create_user(f"user-{uuid.uuid4().hex[:8]}", password="x", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="django_events", codename__in=codenames)
    )
    client.force_login(user)
    return user


@pytest.fixture
def page(admin_client: Client) -> Callable[..., str]:
    """The HTML of a page that a superuser sees."""

    def get(address: str, **query: Any) -> str:
        answer = admin_client.get(address, query)
        assert answer.status_code == 200, (address, answer.status_code)
        return answer.content.decode()

    return get


Page = Callable[..., str]


def change(row: DeadLetter) -> str:
    return f"{LETTERS}{row.pk}/change/"


# ── who may see what ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["failure/", "deadletter/", "outgoingevent/", "processedevent/"])
def test_lists_are_for_those_who_may_view_them(client: Client, path: str) -> None:
    login(client)
    assert client.get(ADMIN + path).status_code == 403
    login(client, f"view_{path.rstrip('/')}")
    assert client.get(ADMIN + path).status_code == 200


@pytest.mark.parametrize("path", ["change/", "payload/", "edit/"])
def test_pages_of_a_letter_are_for_those_who_may_view_letters(client: Client, path: str) -> None:
    row = saved_letter()
    login(client, "view_payload", "edit_deadletter")
    assert client.get(f"{LETTERS}{row.pk}/{path}").status_code == 403
    login(client, "view_payload", "edit_deadletter", "view_deadletter")
    assert client.get(f"{LETTERS}{row.pk}/{path}").status_code == 200


def test_without_view_payload_nothing_of_the_event_is_shown_but_that_it_is_missing(client: Client) -> None:
    row = saved_letter(
        value=b'{"account": "SECRET-1"}',
        headers=[*CLOUD_EVENT, ("tenant", b"SECRET-2"), ("ce_subject", b"SECRET-3")],
        message="SECRET-4",
        traceback="SECRET-5",
    )
    DeadLetter.objects.filter(pk=row.pk).update(edited_value=b'{"account": "SECRET-6"}')
    login(client, "view_deadletter", "view_failure")
    found = client.get(change(row)).content.decode()
    assert "django_events.view_payload" in found
    pages = [client.get(LETTERS), client.get(ADMIN + "failure/"), client.get(LETTERS, {"q": "SECRET"})]
    assert "SECRET-" not in found + "".join(page.content.decode() for page in pages)
    assert "0 dead letters" in pages[-1].content.decode()
    assert client.get(f"{LETTERS}{row.pk}/payload/").status_code == 403


@pytest.mark.parametrize("path", ["add/", "1/delete/"])
def test_nobody_adds_or_deletes_letters(admin_client: Client, path: str) -> None:
    DeadLetter.objects.filter(pk=saved_letter().pk)
    assert admin_client.post(LETTERS + path, {"post": "yes"}).status_code in (403, 404)
    assert DeadLetter.objects.count() == 1


def test_rows_without_a_page_lead_back_to_their_list(admin_client: Client) -> None:
    saved_letter()
    answer = admin_client.get(f"{ADMIN}failure/{Failure.objects.get().pk}/change/")
    assert answer.status_code == 302
    assert answer["Location"] == f"{ADMIN}failure/"


def test_a_letter_that_is_not_there_is_not_found(admin_client: Client) -> None:
    assert admin_client.get(f"{LETTERS}4711/change/").status_code == 404
    assert admin_client.get(f"{LETTERS}nonsense/change/").status_code == 404


# ── what a letter's page shows ───────────────────────────────────────────────────────────────────────────────────


def test_a_letter_shows_everything_about_its_failure(page: Page) -> None:
    row = saved_letter(headers=[*CLOUD_EVENT, ("tenant", b"seven"), ("nothing", None)])
    found = page(change(row))
    for text in ("ValueError", "the account is closed", "Traceback (most recent call last)", "ledger.entry-made",
                 "ledger/book", "&quot;account&quot;: &quot;ann&quot;", "seven", "exactly once",
                 f"ledger.entry-made[1]@{row.offset}", f"ledger.entry-made.ledger.dead-letter[0]@{row.letter_offset}",
                 "?key=ann&amp;state=all", f"?failure={row.failure_id}&amp;state=all"):  # fmt: skip
        assert text in found, text


def test_an_edited_payload_stands_beside_the_original(page: Page) -> None:
    row = saved_letter(value=b'{"account": "ann", "number": 7}')
    repair.edit(row, '{"account": "bob", "number": 7}')
    found = page(change(row))
    assert "&quot;ann&quot;" in found
    assert "&quot;bob&quot;" in found


def test_next_try_in_words(page: Page) -> None:
    queue = uuid.uuid4()
    saved(letter(exception="First", queue_key=queue), letter(exception="Behind", queue_key=queue))
    saved(letter(exception="Asked", automatic=False), letter(exception="Undeclared", handler="gone"))
    now, later = saved(letter(exception="Now"), letter(exception="Runs"))
    DeadLetter.objects.filter(pk=now.pk).update(due_at=timezone.now())
    DeadLetter.objects.filter(pk=later.pk).update(state="running")
    words = {"First": "in 4 min", "Behind": "behind an older one of its key", "Asked": "when somebody says so",
             "Undeclared": "handler not declared", "Now": "now", "Runs": "runs right now"}  # fmt: skip
    for row in DeadLetter.objects.all():
        assert f"<td>{words[row.exception]}</td>" in page(change(row)), row.exception
        assert words[row.exception] in page(LETTERS)


def test_a_handler_that_is_gone_is_said_with_what_to_do(page: Page) -> None:
    found = page(change(saved_letter(handler="gone")))
    assert "The handler ledger/gone is not declared on this site" in found
    assert "Declare the handler again" in found
    assert "Retry now" not in found
    assert ">Discard<" in found


def test_what_one_may_not_do_has_no_button(client: Client) -> None:
    row = saved_letter()
    login(client, "view_deadletter", "discard_deadletter")
    found = client.get(change(row)).content.decode()
    assert ">Discard<" in found
    assert "Retry now" not in found
    assert "Edit and retry" not in found


# ── whatever is in it ────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_of_an_event_is_html(admin_client: Client, page: Page) -> None:
    row = saved_letter(
        topic=XSS, group_name=XSS, handler=XSS, event_id=XSS, key=XSS.encode(), key_text=XSS,
        exception=XSS, message=XSS, traceback=XSS, value=json.dumps({XSS: f"</pre></textarea>{XSS}"}).encode(),
        headers=[*CLOUD_EVENT, (XSS, XSS.encode()), ("ce_subject", XSS.encode()), (f"ce_{XSS}", XSS.encode())],
    )  # fmt: skip
    repair.discard([saved_letter().pk], XSS, XSS)
    OutgoingEvent.objects.save_records([(XSS, Record(XSS, XSS.encode(), b"", []))], "default")
    OutgoingEvent.objects.update(error=XSS)
    ProcessedEvent.objects.create(key=uuid.uuid4(), topic=XSS, source=XSS, event_id=XSS, group_name=XSS, handler=XSS)
    addresses = [change(each) for each in DeadLetter.objects.all()]
    addresses += [f"{ADMIN}{name}/" for name in ("failure", "deadletter", "outgoingevent", "processedevent")]
    addresses += [f"{LETTERS}{row.pk}/edit/", f"{LETTERS}retry/?ids={row.pk}", f"{LETTERS}discard/?ids={row.pk}"]
    addresses += [f"{LETTERS}?{name}={XSS}" for name in ("q", "key", "topic", "group", "handler", "failure", "state")]
    for address in addresses:
        found = page(address)
        assert "<script>alert" not in found, address
        assert "</pre></textarea>" not in found, address
    given = {"action": "retry", "_selected_action": str(row.pk)}
    assert b"<script>alert" not in admin_client.post(f"{LETTERS}?topic={XSS}&q={XSS}", given).content


HEADERS_OF_STRANGERS = [("\udcff", b"\xff\xfe"), ("", b""), ("a", None), ("a", b"\x00"), ("ce_id", b"\xff")]


@pytest.mark.parametrize(
    "given",
    [
        {"value": bytes(range(256)) * 4},
        {"value": b"\xff\xfe not utf-8"},
        {"value": b'{"half": "\\ud800", "nul": "\\u0000"}'},
        {"value": b"\x00"},
        {"value": b""},
        {"value": None},
        {"value": b"[" * 100_000},
        {"value": b'{"long": 123456789012345678901234567890, "account": 1e400}'},
        {"headers": [(name, value) for name, value in HEADERS_OF_STRANGERS if name != "\udcff"]},
        {"headers": []},
        {"key": None, "key_text": None, "queue_key": None},
        {"key": b"", "key_text": ""},
        {"key": b"\xff", "key_text": "\\xff"},
        {"event_id": ""},
        {"exception": "", "message": "", "traceback": ""},
        {"headers": [("content-type", b"application/cloudevents+json")], "value": b"{}"},
        {"headers": [("content-type", b"application/cloudevents+json")], "value": b"no json"},
        {
            "headers": [("content-type", b"application/cloudevents+json; charset=utf-8")],
            "value": b'{"specversion": "1.0", "id": "1", "source": "go", "type": "t", "data": {"account": "eve"}}',
        },
    ],
)
def test_pages_stand_whatever_the_event_is(page: Page, given: dict[str, Any]) -> None:
    row = saved_letter(**given)
    for path in ("change/", "edit/"):
        page(f"{LETTERS}{row.pk}/{path}")
    page(LETTERS, q="x")
    page(f"{LETTERS}discard/", ids=row.pk)


def test_an_event_of_the_go_library_shows_its_payload_and_attributes(page: Page) -> None:
    value = b'{"specversion": "1.0", "id": "go-7", "source": "go", "type": "t", "data": {"account": "eve"}}'
    row = saved_letter(headers=[("content-type", b"application/cloudevents+json")], value=value)
    found = page(change(row))
    assert "{\n  &quot;account&quot;: &quot;eve&quot;\n}" in found
    assert "<td>go-7</td>" in found


def test_of_a_large_payload_the_beginning_is_shown_and_all_of_it_downloaded(
    admin_client: Client, page: Page, settings: Any
) -> None:
    settings.SECURE_CONTENT_TYPE_NOSNIFF = False  # so that it is not Django that says it
    value = json.dumps({"account": "x" * 1_000_000}).encode()
    row = saved_letter(value=value)
    found = page(change(row))
    assert "Only the beginning is shown here." in found
    assert len(found) < 2 * SHOWN
    answer = admin_client.get(f"{LETTERS}{row.pk}/payload/")
    assert answer.content == value
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Disposition"].startswith("attachment")


def test_bytes_that_are_no_text_are_shown_in_hexadecimal(page: Page) -> None:
    found = page(change(saved_letter(value=b"\x00\x01binary\xff")))
    assert "000000  00 01 62 69" in found
    assert "bytes that are no text" in found.lower()


def test_numbers_stay_as_they_came(page: Page) -> None:
    found = page(change(saved_letter(value=b'{"account": 0.12345678901234567890123456789}')))
    assert "0.12345678901234567890123456789" in found


# ── REDACT ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_redact_hides_values_on_every_page(admin_client: Client, page: Page, settings: Any) -> None:
    row = saved_letter(
        value=b'{"account": "hush-hush", "number": 7}',
        headers=[*CLOUD_EVENT, ("tenant", b"hidden-tenant"), ("ce_subject", b"hidden-subject")],
        message="no account hush-hush of hidden-tenant",
        traceback="ValueError: no account hush-hush",
    )
    repair.edit(row, '{"account": "new-secret", "number": 7}')
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "REDACT": ["account", "tenant", "ce_subject"]}
    addresses = [change(row), f"{LETTERS}{row.pk}/edit/", f"{LETTERS}{row.pk}/payload/", LETTERS, f"{ADMIN}failure/"]
    for address in [*addresses, f"{LETTERS}{row.pk}/payload/?edited", f"{LETTERS}retry/?ids={row.pk}"]:
        found = page(address)
        assert not [text for text in ("hush", "hidden-", "new-secret") if text in found], address
    assert "[redacted]" in page(change(row))
    for secret in ("hush-hus", "hidden-ten", "new-secr"):
        assert "0 dead letters" in page(LETTERS, q=secret), secret
    assert "1 dead letter" in page(LETTERS, q="number")


# ── the lists ────────────────────────────────────────────────────────────────────────────────────────────────────


def shown(html: str) -> set[str]:
    """The exceptions of the letters in the list: each test gives its letters exceptions of their own."""
    return {name for name in ("One", "Two", "Three") if f">{name}: " in html}


def test_filters_of_dead_letters(page: Page) -> None:
    one, two, three = saved(
        letter(exception="One", topic="ledger.entry-closed", attempts=1, fingerprint=uuid.UUID(int=11)),
        letter(exception="Two", group_name="audit", handler="note", key_text="bob", fingerprint=uuid.UUID(int=12)),
        letter(exception="Three", handler="gone", fingerprint=uuid.UUID(int=13), first_failed=timezone.now(),
               last_failed=timezone.now()),
    )  # fmt: skip
    repair.discard([one.pk], "no", "ann")
    for query, wanted in [
        ({}, {"Two", "Three"}),
        ({"state": "open"}, {"Two", "Three"}),
        ({"state": "all"}, {"One", "Two", "Three"}),
        ({"state": "discarded"}, {"One"}),
        ({"state": "nonsense"}, {"Two", "Three"}),
        ({"topic": "ledger.entry-closed", "state": "all"}, {"One"}),
        ({"group": "audit"}, {"Two"}),
        ({"handler": "audit/note"}, {"Two"}),
        ({"key": "bob"}, {"Two"}),
        ({"failure": str(two.failure_id)}, {"Two"}),
        ({"attempts": "1", "state": "all"}, {"One"}),
        ({"attempts": "2-5"}, {"Two", "Three"}),
        ({"first": "hour"}, {"Three"}),
        ({"last": "day"}, {"Three"}),
        ({"last": "older"}, {"Two"}),
        ({"next": "undeclared"}, {"Three"}),
        ({"next": "later"}, {"Two"}),
        ({"last_failed__year": str(two.last_failed.year), "last_failed__month": str(two.last_failed.month),
          "last_failed__day": str(two.last_failed.day)}, {"Two"}),
        ({"q": "bo"}, {"Two"}),
        ({"q": one.event_id, "state": "all"}, {"One"}),
        ({"topic": "ledger.entry-made", "handler": "audit/note", "key": "bob", "q": "b"}, {"Two"}),
    ]:  # fmt: skip
        assert shown(page(LETTERS, **query)) == wanted, query
    assert three.exception == "Three"


def test_search_finds_payloads_edited_ones_and_errors(page: Page) -> None:
    one, two, three = saved(
        letter(exception="One", value=b'{"account": "needle", "number": 1}'),
        letter(exception="Two"),
        letter(exception="Three", message="a needle in the error"),
    )
    repair.edit(two, '{"account": "needle", "number": 1}')
    assert shown(page(LETTERS, q="needle")) == {"One", "Two", "Three"}
    assert shown(page(LETTERS, q="edle in the")) == {"Three"}
    assert one.pk < three.pk


def test_lists_can_be_ordered_by_each_column(page: Page) -> None:
    saved(letter(exception="One", attempts=9), letter(exception="Two", attempts=1))
    html = page(LETTERS, o="5")
    assert html.index(">Two: ") < html.index(">One: ")
    for column in range(1, 10):
        page(LETTERS, o=f"-{column}")
    for column in range(1, 8):
        page(f"{ADMIN}failure/", o=column)


@pytest.mark.parametrize(
    "query",
    [{"failure": "x"}, {"failure": "9" * 30}, {"topic": "\0"}, {"q": "\0"}, {"key": "\0"}, {"handler": "no-slash"},
     {"last_failed__year": "x"}, {"last_failed__year": "2026", "last_failed__month": "99"}, {"p": "99"}, {"o": "77"},
     {"last_failed__gte": "x"}, {"state": "'"}, {"e": "1"}, {"last_failed__month": "5"},
     {"last_failed__year": "9999"}],
)  # fmt: skip
def test_lists_stand_whatever_the_address_is(admin_client: Client, query: dict[str, str]) -> None:
    saved_letter()
    answer = admin_client.get(LETTERS, query, follow=True)
    assert answer.status_code in (200, 400), query


def test_failures_count_their_letters_and_link_to_them(page: Page) -> None:
    rows = saved(letter(), letter(), letter(exception="KeyError", fingerprint=uuid.UUID(int=2)))
    repair.discard([rows[0].pk], "no", "ann")
    found = page(f"{ADMIN}failure/", exception="ValueError")
    failure = rows[0].failure_id
    assert f'<a href="{LETTERS}?failure={failure}">1</a>' in found
    assert f'<a href="{LETTERS}?failure={failure}&amp;state=all">2</a>' in found or (
        f'<a href="{LETTERS}?failure={failure}&state=all">2</a>' in found
    )
    assert "1 failure" in found
    assert "1 failure" in page(f"{ADMIN}failure/", q="keyerr")


def test_outgoing_events_are_listed_oldest_first_with_age_lane_and_error(page: Page) -> None:
    OutgoingEvent.objects.save_records([(f"id-{n}", Record("shop", b"k", b"", [])) for n in range(3)], "default")
    OutgoingEvent.objects.filter(event_id="id-2").update(lane=None, error="too large")
    found = page(f"{ADMIN}outgoingevent/")
    assert found.index("id-0") < found.index("id-1") < found.index("id-2")
    assert "set aside" in found
    assert "too large" in found
    found = page(f"{ADMIN}outgoingevent/", q="id-1")
    assert "1 outgoing event" in found
    assert "id-0" not in found


def test_processed_events_are_listed_newest_first_and_found_by_their_id(page: Page) -> None:
    for n in range(3):
        ProcessedEvent.objects.create(
            key=uuid.uuid4(), topic="t", source="s", event_id=f"id-{n}", group_name="g", handler="h",
            processed_at=timezone.now() + timedelta(minutes=n),
        )  # fmt: skip
    found = page(f"{ADMIN}processedevent/")
    assert found.index("id-2") < found.index("id-1") < found.index("id-0")
    assert "1 processed event" in page(f"{ADMIN}processedevent/", q="id-1")
    assert "0 processed events" in page(f"{ADMIN}processedevent/", q="id-")


def test_pages_need_no_inline_scripts_or_styles(page: Page) -> None:
    row = saved_letter()
    for path in ("", f"{row.pk}/change/", f"{row.pk}/edit/", f"discard/?ids={row.pk}", f"retry/?ids={row.pk}"):
        found = page(LETTERS + path)
        assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>", found), path
        assert not re.search(r"\sstyle=|\son[a-z]+=", found), path


def links(first: datetime, last: datetime, **chosen: int) -> tuple[str, list[str]]:
    """Where the dates above a list lead back to, and what they offer."""
    params = {f"at__{name}": str(number) for name, number in chosen.items()}
    found = date_links(params, "at", first, last, lambda new, remove: str(sorted(new.values())))
    return (found.back.title if found.back else "", [choice.title for choice in found.choices])


def test_dates_lie_between_the_first_and_the_last() -> None:
    first, last = datetime(2024, 11, 28, tzinfo=UTC), datetime(2026, 2, 3, 23, tzinfo=UTC)
    assert links(first, last) == ("", ["2024", "2025", "2026"])
    assert links(first, last, year=2024) == ("All dates", ["November 2024", "December 2024"])
    assert links(first, last, year=2026, month=2) == ("2026", ["February 1", "February 2", "February 3"])
    assert links(first, last, year=2026, month=2, day=2) == ("February 2026", ["February 2"])
    assert links(first, last, year=2025)[1][0] == "January 2025"
    assert len(links(first, last, year=2025, month=2)[1]) == 28
    assert links(last, last) == ("", ["February 3"])


def test_the_dates_above_the_list_are_those_of_what_is_chosen(page: Page) -> None:
    saved_letter(key_text="old", topic="ledger.entry-closed", last_failed=datetime(2022, 5, 5, tzinfo=UTC))
    saved_letter()
    for query in ({"key": "old"}, {"topic": "ledger.entry-closed"}):
        found = page(LETTERS, **query)
        assert ">May 5</a>" in found
        assert ">2024</a>" not in found
    assert ">2024</a>" in page(LETTERS)
