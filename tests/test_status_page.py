"""The page of the admin that tells how all is."""

import time
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.urls import reverse

from django_events.models import Kind, OutgoingEvent
from django_events.presence.activity import Activity, GroupActivity
from django_events.status import gathering
from tests.broker import Broker
from tests.letters import a_letter, project
from tests.test_admin_pages import login
from tests.test_events_status import no_kafka, process, save

__all__ = ["no_kafka"]

pytestmark = pytest.mark.django_db

PAGE = "/admin/django_events/process/"
XSS = "<script>alert(1)</script>"


def html(client: Client) -> str:
    answer = client.get(PAGE)
    assert answer.status_code == 200
    return answer.content.decode()


def test_it_is_for_those_who_may_see_it_and_linked_from_the_index(client: Client, no_kafka: None) -> None:
    login(client, "view_deadletter")
    assert client.get(PAGE).status_code == 403
    login(client, "view_process")
    assert client.get(PAGE).status_code == 200
    assert reverse("admin:django_events_process_changelist") == PAGE
    assert f'href="{PAGE}"' in client.get("/admin/").content.decode()


def test_strangers_have_to_log_in(client: Client) -> None:
    assert client.get(PAGE).status_code == 302


@pytest.mark.kafka
def test_it_says_what_is_wrong_and_where_to_look(
    admin_client: Client, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering.gather, "__defaults__", (60.0,))  # a slow Kafka would be one that does not answer
    save(2)
    OutgoingEvent.objects.set_aside({OutgoingEvent.objects.earliest("pk").pk: "too large"}, "default")
    project(a_letter(message="SECRET-1"))
    process(Kind.CONSUME, Activity(groups=(GroupActivity(name="billing", state="runs", partitions={"o": "0-3"}),)))
    process(silent=1_000.0)
    found = html(admin_client)
    for text in (
        "is set aside: Kafka refuses it",
        f'href="{reverse("admin:django_events_outgoingevent_changelist")}?place=aside&amp;database=default"',
        f'href="{reverse("admin:django_events_failure_changelist")}"',
        "manage.py consume audit billing clinic ledger mail",
        "has said nothing for 17 min",
        "silent for 17 min",
        "billing: o[0-3]",
        "clinic/cure",
        "ValueError",
    ):
        assert text in found, text
    assert "SECRET-1" not in found, "errors quote payloads"
    assert "which does not answer" not in found


def test_who_may_not_see_a_list_gets_no_link_to_it(client: Client, no_kafka: None) -> None:
    project(a_letter())
    login(client, "view_process")
    assert "Look there" not in html(client)
    login(client, "view_process", "view_failure")
    assert "Look there" in html(client)


def test_it_opens_without_kafka(admin_client: Client, no_kafka: None) -> None:
    project(a_letter())
    began = time.monotonic()
    found = html(admin_client)
    assert time.monotonic() - began < 90, "the time-out of each answer is 2 s"
    assert "which does not answer" in found
    assert "Kafka at 127.0.0.1:1 does not answer" in found
    assert "clinic/cure" in found


def _no_address() -> str:
    raise LookupError("the vault is sealed")


@pytest.mark.parametrize(("kafka", "reason"), [
    ("127.0.0.1:9092", "settings.DJANGO_EVENTS[&#x27;KAFKA&#x27;] must be a dict"),
    ({"bootstrap.servers": _no_address}, "the vault is sealed"),
])  # fmt: skip
def test_it_opens_with_wrong_settings_of_kafka(admin_client: Client, settings: Any, kafka: object, reason: str) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA": kafka}
    found = html(admin_client)
    assert "Kafka at an unknown address, which does not answer" in found
    assert reason in found


def test_it_opens_without_the_table_of_processes(admin_client: Client, no_kafka: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE django_events_process RENAME TO hidden")
    found = html(admin_client)
    assert "It is not known which processes run" in found
    assert "manage.py migrate --database default" in found


def test_it_opens_without_the_table_of_dead_letters(admin_client: Client, no_kafka: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE django_events_deadletter RENAME TO hidden")
    found = html(admin_client)
    assert "Nothing is known of the dead letters in database default" in found
    assert "It is not known which are open." in found
    assert "There are none." not in found
    assert "Kafka at 127.0.0.1:1 does not answer" in found


def test_what_others_have_written_is_escaped(admin_client: Client, no_kafka: None) -> None:
    process(Kind.CONSUME, Activity(troubles=(XSS,)), host=XSS)
    project(a_letter(exception=XSS, handler="cure"))
    assert XSS not in html(admin_client)


def test_nobody_adds_changes_or_deletes_processes(admin_client: Client) -> None:
    for path in ("add/", "1/delete/"):
        assert admin_client.post(PAGE + path, {"post": "yes"}).status_code in (403, 404)
    assert admin_client.get(f"{PAGE}1/change/")["Location"] == PAGE


def test_the_permission_exists() -> None:
    assert Permission.objects.filter(codename="view_process").exists()
