"""What Kafka refuses waits in the admin for a person, who sends it again or discards it."""

from typing import Any

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.db import transaction
from django.test import Client
from django.urls import reverse

from django_events.models import OutgoingEvent
from tests.ledger.events import EntryMade, entry_made
from tests.test_admin_pages import login

pytestmark = pytest.mark.django_db

ALL = ("view_outgoingevent", "send_again_outgoingevent", "discard_outgoingevent")


@pytest.fixture
def rows() -> list[OutgoingEvent]:
    """Two that are set aside, and one that waits."""
    with transaction.atomic():
        for number in range(3):
            entry_made.send(EntryMade("ann", number), key="ann")
    saved = list(OutgoingEvent.objects.order_by("pk"))
    OutgoingEvent.objects.set_aside({saved[0].pk: "too large", saved[1].pk: "<script>"}, "default")
    return list(OutgoingEvent.objects.order_by("pk"))


def page() -> str:
    return reverse("admin:django_events_outgoingevent_changelist")


def select(client: Client, action: str, rows: list[OutgoingEvent], **more: Any) -> Any:
    given = {"action": action, "_selected_action": [str(row.pk) for row in rows], "index": "0", **more}
    return client.post(page(), given, follow=True)


def confirm(client: Client, action: str, rows: list[OutgoingEvent], **more: Any) -> Any:
    ids = ",".join(str(row.pk) for row in rows)
    given = {"action": action, "index": "0", "select_across": "1", "_selected_action": "confirmed", "confirmed": ids}
    return client.post(page(), given | more, follow=True)


def aside() -> list[int]:
    return list(OutgoingEvent.objects.filter(lane=None).order_by("pk").values_list("pk", flat=True))


def test_the_list_shows_what_is_set_aside_and_why(client: Client, rows: list[OutgoingEvent]) -> None:
    login(client, *ALL)
    text = client.get(page(), {"place": "aside"}).content.decode()
    assert text.count("set aside</td>") == 2
    assert "too large" in text and "<script>" not in text.split("field-shown_error", 1)[1]
    assert client.get(page(), {"place": "lane"}).content.decode().count("set aside</td>") == 0


def test_sending_again_is_confirmed_and_logged(client: Client, rows: list[OutgoingEvent]) -> None:
    user = login(client, *ALL)
    asked = select(client, "send_again", rows)
    assert "<strong>2</strong>" in asked.content.decode()
    assert aside() == [rows[0].pk, rows[1].pk]
    done = confirm(client, "send_again", rows)
    assert "2 events are sent again." in done.content.decode()
    assert not aside()
    assert OutgoingEvent.objects.filter(error=None).count() == 3
    assert sorted(LogEntry.objects.values_list("object_id", "user")) == sorted(
        (str(row.pk), user.pk) for row in rows[:2]
    )


def test_discarding_needs_a_reason_and_leaves_others_alone(client: Client, rows: list[OutgoingEvent]) -> None:
    login(client, *ALL)
    assert "This field is required" in confirm(client, "discard", rows, reason="").content.decode()
    assert OutgoingEvent.objects.count() == 3
    done = confirm(client, "discard", [rows[0], rows[2]], reason="a test order")
    assert "1 event was discarded." in done.content.decode()
    assert list(OutgoingEvent.objects.order_by("pk")) == rows[1:]
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.action_flag) == (str(rows[0].pk), DELETION)
    assert entry.get_change_message() == "Discarded: a test order"


@pytest.mark.parametrize("action", ["send_again", "discard"])
def test_nobody_acts_without_the_permission(client: Client, rows: list[OutgoingEvent], action: str) -> None:
    login(client, *(name for name in ALL if not name.startswith(action)))
    confirm(client, action, rows, reason="because")
    assert aside() == [rows[0].pk, rows[1].pk]
    assert not LogEntry.objects.exists()


def test_nothing_changes_on_get(client: Client, rows: list[OutgoingEvent]) -> None:
    login(client, *ALL)
    client.get(page(), {"action": "discard", "select_across": "1", "confirmed": str(rows[0].pk), "reason": "x"})
    assert OutgoingEvent.objects.count() == 3
