"""What operators do to dead letters in the admin: permissions, confirmation, what is done, said and logged."""

import uuid
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_events.admin.dead_letters import DeadLetterAdmin
from django_events.consuming import repair
from django_events.models import DeadLetter, State
from tests.admin_letters import letter, saved, saved_letter
from tests.test_admin_pages import LETTERS, login

pytestmark = pytest.mark.django_db

ALL = ("view_deadletter", "view_payload", "retry_deadletter", "discard_deadletter", "edit_deadletter")
GOOD = '{"account": "bob", "number": 8}'


def ids(*rows: DeadLetter) -> str:
    return ",".join(str(row.pk) for row in rows)


def messages(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


def fresh(row: DeadLetter) -> DeadLetter:
    return DeadLetter.objects.get(pk=row.pk)


def is_due(row: DeadLetter) -> bool:
    due = fresh(row).due_at
    return due is not None and due <= timezone.now()


def everything() -> list[Any]:
    """All rows that could have changed, as they are."""
    models: list[type[Model]] = [DeadLetter, LogEntry]
    return [list(model._default_manager.order_by("pk").values()) for model in models]


# ── permissions ──────────────────────────────────────────────────────────────────────────────────────────────────

REQUESTS: dict[str, tuple[str, dict[str, str]]] = {
    "retry_deadletter": ("retry/", {"ids": "{pk}"}),
    "discard_deadletter": ("discard/", {"ids": "{pk}", "reason": "no"}),
    "edit_deadletter": ("{pk}/edit/", {"payload": GOOD}),
}


def send(client: Client, name: str, row: DeadLetter, **more: Any) -> Any:
    path, given = REQUESTS[name]
    data = {key: value.replace("{pk}", str(row.pk)) for key, value in given.items()}
    return client.post(LETTERS + path.replace("{pk}", str(row.pk)), data, **more)


@pytest.mark.parametrize("name", REQUESTS)
def test_each_action_needs_its_own_permission(client: Client, name: str) -> None:
    row = saved_letter()
    before = everything()
    login(client, *(each for each in ALL if each != name))
    assert send(client, name, row).status_code == 403
    assert client.get(LETTERS + REQUESTS[name][0].replace("{pk}", str(row.pk))).status_code == 403
    assert everything() == before
    login(client, *ALL)
    assert send(client, name, row).status_code == 302
    assert everything() != before


@pytest.mark.parametrize("name", REQUESTS)
def test_actions_need_to_see_letters(client: Client, name: str) -> None:
    login(client, *ALL[1:])
    assert send(client, name, saved_letter()).status_code == 403


def test_editing_needs_to_see_payloads(client: Client) -> None:
    login(client, "view_deadletter", "edit_deadletter")
    assert send(client, "edit_deadletter", saved_letter()).status_code == 403


@pytest.mark.parametrize("action", ["retry", "discard"])
def test_actions_that_one_may_not_do_are_not_offered(client: Client, action: str) -> None:
    row = saved_letter()
    login(client, *(each for each in ALL if each != f"{action}_deadletter"))
    assert f'<option value="{action}">' not in client.get(LETTERS).content.decode()
    answer = client.post(LETTERS, {"action": action, "_selected_action": str(row.pk)}, follow=True)
    assert messages(answer) == ["No action selected."]


@pytest.mark.parametrize("name", REQUESTS)
def test_actions_need_a_csrf_token(name: str) -> None:
    client = Client(enforce_csrf_checks=True)
    row = saved_letter()
    login(client, *ALL)
    assert send(client, name, row).status_code == 403
    assert fresh(row).edited_value is None
    assert fresh(row).state == State.WAITING


def test_nothing_changes_on_get(admin_client: Client) -> None:
    row = saved_letter()
    before = everything()
    for path in ("retry/", "discard/", f"{row.pk}/edit/", f"{row.pk}/change/", ""):
        query = {"ids": ids(row), "reason": "no", "payload": GOOD, "action": "retry", "_selected_action": str(row.pk)}
        assert admin_client.get(LETTERS + path, query, follow=True).status_code in (200, 302)
    assert everything() == before


# ── retry and discard ────────────────────────────────────────────────────────────────────────────────────────────


def mixed() -> dict[str, DeadLetter]:
    waits, closed, runs, gone = saved(letter(), letter(), letter(), letter(handler="gone"))
    repair.discard([closed.pk], "no", "ann")
    DeadLetter.objects.filter(pk=runs.pk).update(state=State.RUNNING, lease=uuid.uuid4())
    return {"waits": waits, "closed": closed, "runs": runs, "gone": gone}


def test_the_confirmation_counts_what_will_be_done_and_what_will_not(admin_client: Client) -> None:
    answer = admin_client.get(f"{LETTERS}retry/", {"ids": ids(*mixed().values())})
    forecast = answer.context["forecast"]
    assert (forecast.total, forecast.waiting, forecast.closed, forecast.running) == (4, 1, 1, 1)
    assert forecast.undeclared == (("ledger/gone", 1),)
    found = answer.content.decode()
    assert "1 of ledger/gone, will be left alone: this site has no such handler" in found
    answer = admin_client.get(f"{LETTERS}discard/", {"ids": ids(*mixed().values())})
    assert answer.context["forecast"].waiting == 2
    assert answer.context["forecast"].undeclared == ()


def test_retry_says_what_was_done_and_what_was_left_alone(admin_client: Client) -> None:
    rows = mixed()
    filters = "state=all&topic=ledger.entry-made"
    answer = admin_client.post(
        f"{LETTERS}retry/?_changelist_filters={filters.replace('&', '%26')}", {"ids": ids(*rows.values())}, follow=True
    )
    assert answer.redirect_chain[0][0] == f"{LETTERS}?{filters}"
    assert messages(answer) == [
        "1 dead letter is tried now.",
        "1 was left alone, because it is closed already.",
        "1 was left alone, because it runs, or somebody else changes it, right now.",
        "Left alone, because this site does not declare their handler: ledger/gone.",
    ]
    assert {name for name, row in rows.items() if is_due(row)} == {"waits"}
    (entry,) = LogEntry.objects.all()
    assert (entry.object_id, entry.get_change_message()) == (str(rows["waits"].pk), "Retry now.")
    assert entry.user.username == "admin"


def test_discard_keeps_the_reason_and_the_person(admin_client: Client) -> None:
    rows = mixed()
    answer = admin_client.post(f"{LETTERS}discard/", {"ids": ids(*rows.values()), "reason": "sold out"}, follow=True)
    assert messages(answer)[0] == "2 dead letters were discarded."
    for name in ("waits", "gone"):
        row = fresh(rows[name])
        assert (row.state, row.reason, row.closed_by) == (State.DISCARDED, "sold out", "admin")
    assert fresh(rows["runs"]).state == State.RUNNING
    entries = LogEntry.objects.all()
    assert {entry.object_id for entry in entries} == {str(rows["waits"].pk), str(rows["gone"].pk)}
    assert {entry.get_change_message() for entry in entries} == {"Discarded: sold out"}
    page = admin_client.get(f"{LETTERS}{rows['waits'].pk}/change/").content.decode()
    assert "admin: Discarded: sold out" in page
    assert "Reason: sold out" in page


@pytest.mark.parametrize("reason", ["", "   ", "x" * 1001])
def test_discard_wants_a_reason(admin_client: Client, reason: str) -> None:
    row = saved_letter()
    answer = admin_client.post(f"{LETTERS}discard/", {"ids": ids(row), "reason": reason})
    assert answer.status_code == 200
    assert answer.context["form"].errors["reason"]
    assert fresh(row).state == State.WAITING


def test_of_one_letter_the_answer_is_on_its_page(admin_client: Client) -> None:
    row = saved_letter()
    answer = admin_client.post(f"{LETTERS}retry/", {"ids": ids(row)}, follow=True)
    assert answer.redirect_chain[0][0] == f"{LETTERS}{row.pk}/change/"
    assert messages(answer) == ["1 dead letter is tried now."]


def test_two_operators_are_not_in_each_others_way(admin_client: Client) -> None:
    row = saved_letter()
    for expected in ("1 dead letter was discarded.", "1 was left alone, because it is closed already."):
        answer = admin_client.post(f"{LETTERS}discard/", {"ids": ids(row), "reason": "no"}, follow=True)
        assert messages(answer) == [expected]
    assert LogEntry.objects.count() == 1


@pytest.mark.parametrize("given", ["", "x", "4711", "1,,x,-5", "9" * 40, "\0"])
def test_ids_that_are_none_do_nothing(admin_client: Client, given: str) -> None:
    saved_letter(letter_key=uuid.uuid4())
    DeadLetter.objects.update(state=State.RUNNING)
    answer = admin_client.post(f"{LETTERS}discard/", {"ids": given, "reason": "no"}, follow=True)
    assert answer.status_code == 200
    assert not LogEntry.objects.exists()


# ── selected, and all that match ─────────────────────────────────────────────────────────────────────────────────


def confirm(client: Client, page: Any, **given: str) -> Any:
    """Press the button of the confirmation page."""
    return client.post(page.context["action_url"], {"ids": page.context["ids"], **given}, follow=True)


def test_selected_letters_are_confirmed_first(admin_client: Client) -> None:
    one, other = saved(letter(), letter())
    before = everything()
    page = admin_client.post(f"{LETTERS}?state=waiting", {"action": "retry", "_selected_action": str(one.pk)})
    assert page.context["forecast"].waiting == 1
    assert everything() == before
    answer = confirm(admin_client, page)
    assert answer.redirect_chain[0][0] == f"{LETTERS}?state=waiting"
    assert (is_due(one), is_due(other)) == (True, False)


def test_a_selected_letter_that_has_left_the_filter_is_reported(admin_client: Client) -> None:
    row = saved_letter()
    repair.discard([row.pk], "no", "ann")
    page = admin_client.post(LETTERS, {"action": "retry", "_selected_action": str(row.pk)})
    assert page.context["forecast"].closed == 1


def test_all_that_match_the_filter_are_those_that_were_counted(admin_client: Client) -> None:
    match, other = saved(letter(key_text="bob"), letter(key_text="ann"))
    data = {"action": "discard", "select_across": "1", "_selected_action": str(match.pk)}
    page = admin_client.post(f"{LETTERS}?key=bob&attempts=2-5", data)
    found = page.content.decode()
    assert page.context["filters"] == [("state", "open"), ("key", "bob"), ("attempts", "2 to 5")]
    assert "bob" in found
    late = saved_letter(key_text="bob")
    answer = confirm(admin_client, page, reason="no")
    assert messages(answer) == ["1 dead letter was discarded."]
    assert fresh(match).state == State.DISCARDED
    assert fresh(other).state == fresh(late).state == State.WAITING


def test_all_that_match_are_more_than_a_page(admin_client: Client) -> None:
    rows = saved(*(letter() for _ in range(120)))
    data = {"action": "retry", "select_across": "1", "_selected_action": str(rows[0].pk)}
    answer = confirm(admin_client, admin_client.post(LETTERS, data))
    assert messages(answer) == ["120 dead letters are tried now."]
    assert LogEntry.objects.count() == 120


def test_a_selection_that_is_none_is_refused(admin_client: Client) -> None:
    saved_letter()
    answer = admin_client.post(LETTERS, {"action": "retry", "_selected_action": "x"})
    assert answer.status_code == 400


# ── edit ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_edit_and_retry_keeps_the_original(admin_client: Client) -> None:
    row = saved_letter()
    answer = admin_client.post(f"{LETTERS}{row.pk}/edit/", {"payload": GOOD}, follow=True)
    assert messages(answer) == ["The dead letter is tried now, with the edited payload. The original is kept."]
    after = fresh(row)
    assert bytes(after.edited_value or b"") == GOOD.encode()
    assert bytes(after.value or b"") == bytes(row.value or b"")
    assert is_due(row)
    assert LogEntry.objects.get().get_change_message() == "Edited the payload, and retry now."


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ("", "This field is required."),
        ("{", "This is not JSON"),
        ('{"account": 5, "number": 7}', "Expected `str`, got `int` - at `$.account`"),
        ("[" * 100_000, "This is not JSON"),
        ('{"account": "ann"}', "missing required field `number`"),
    ],
)
def test_an_edit_that_does_not_fit_is_the_fields_error_and_changes_nothing(
    admin_client: Client, payload: str, error: str
) -> None:
    row = saved_letter()
    before = everything()
    answer = admin_client.post(f"{LETTERS}{row.pk}/edit/", {"payload": payload})
    assert answer.status_code == 200
    assert error in str(answer.context["form"].errors["payload"].as_text())
    assert everything() == before


@pytest.mark.parametrize("state", [State.RUNNING, State.RESOLVED, State.DISCARDED])
def test_a_letter_that_does_not_wait_is_not_edited(admin_client: Client, state: State) -> None:
    row = saved_letter()
    DeadLetter.objects.filter(pk=row.pk).update(state=state)
    before = everything()
    answer = admin_client.post(f"{LETTERS}{row.pk}/edit/", {"payload": GOOD}, follow=True)
    assert "left alone" in messages(answer)[0]
    assert everything() == before


def test_a_letter_whose_handler_is_gone_is_not_edited(admin_client: Client) -> None:
    row = saved_letter(handler="gone")
    answer = admin_client.post(f"{LETTERS}{row.pk}/edit/", {"payload": GOOD})
    assert "is not declared on this site" in answer.content.decode()
    assert fresh(row).edited_value is None


def test_an_edit_puts_hidden_values_back(admin_client: Client, settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "REDACT": ["account"]}
    row = saved_letter()
    page = admin_client.get(f"{LETTERS}{row.pk}/edit/")
    shown = page.context["form"].initial["payload"]
    assert "[redacted]" in shown
    admin_client.post(f"{LETTERS}{row.pk}/edit/", {"payload": shown.replace("7", "8")})
    assert bytes(fresh(row).edited_value or b"") == b'{"account":"ann","number":8}'


def test_a_payload_of_a_megabyte_can_be_edited(admin_client: Client) -> None:
    row = saved_letter()
    payload = '{"account": "%s", "number": 1}' % ("é" * 500_000)
    answer = admin_client.post(f"{LETTERS}{row.pk}/edit/", {"payload": payload}, follow=True)
    assert answer.status_code == 200
    assert len(bytes(fresh(row).edited_value or b"")) > 1_000_000


def test_the_history_is_on_the_page(admin_client: Client) -> None:
    row = saved_letter()
    answer = admin_client.get(reverse("admin:django_events_deadletter_history", args=[row.pk]))
    assert answer.status_code == 302
    assert answer["Location"] == f"{LETTERS}{row.pk}/change/"


def test_a_site_that_narrows_the_list_narrows_the_actions(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, others = saved(letter(), letter(key_text="bob"))

    def narrowed(self: DeadLetterAdmin, request: HttpRequest) -> QuerySet[DeadLetter]:
        return DeadLetter.objects.filter(key_text="ann")

    monkeypatch.setattr(DeadLetterAdmin, "get_queryset", narrowed)
    assert "1 dead letter\n" in admin_client.get(LETTERS).content.decode()
    admin_client.post(f"{LETTERS}discard/", {"ids": ids(mine, others), "reason": "no"})
    assert fresh(mine).state == State.DISCARDED
    assert fresh(others).state == State.WAITING
    assert admin_client.get(f"{LETTERS}{others.pk}/change/").status_code == 404
