"""Several databases with an outbox: an event is in the one that its transaction is in, and each is looked after."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import Client
from django.urls import reverse

from django_events import Backoff, ConsumerGroup, Event, SettingsError, Topic, TransactionRequired
from django_events.consuming.service import Service
from django_events.kafka import topics
from django_events.models import OutgoingEvent, ProcessedEvent, State
from django_events.testing import saved_events, sending
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_made
from tests.letters import a_letter, project
from tests.processes import Site
from tests.test_admin_pages import login
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.usefixtures("declarations")]

Payload = dict[str, Any]


class EventsInOther:
    """A router that has all tables of django_events in the other database."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "other" if model._meta.app_label == "django_events" else None

    db_for_write = db_for_read


class ReadsInOther:
    """A router that has outgoing events read elsewhere, as from a replica."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "other" if model is OutgoingEvent else None


class HandlersInOther(EventsInOther):
    """A router that has what handlers need in the other database; events go there with a handler only."""

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return None if model is OutgoingEvent else self.db_for_read(model)


@pytest.fixture
def other(transactional_db: None, settings: Any) -> Iterator[str]:
    """The name in PostgreSQL of a second database, which this process knows as ``other``; both have an outbox."""
    name = f"{connection.settings_dict['NAME']}_other"
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "DATABASES": ["default", "other"]}
    with connection.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{name}"')
    connections.settings["other"] = {**connections.settings["default"], "NAME": name}
    try:
        with unguarded():
            call_command("migrate", database="other", verbosity=0)
            yield name
    finally:
        connections["other"].close()
        del connections["other"], connections.settings["other"]
        wait_for(lambda: drop(name))


def drop(name: str) -> bool:
    """Drop the database; False if a process that PostgreSQL has for a connection to it has not ended yet."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    except OperationalError:
        return False
    return True


def unguarded() -> AbstractContextManager[object]:
    """Django refuses in a test to connect to what it did not know when the test began."""
    guard = inspect.getclosurevars(BaseDatabaseWrapper.ensure_connection)
    return patch.object(BaseDatabaseWrapper, "ensure_connection", guard.nonlocals["real_ensure_connection"])


def address_of(database: str) -> str:
    return "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/".format(**connection.settings_dict) + database


def numbers() -> Topic[Payload]:
    return Topic("numbers", Payload)


def sent(broker: Broker, topic: str = "numbers") -> set[int]:
    """The numbers of the events in Kafka, which a slow one may have twice."""
    return {record.payload["n"] for record in broker.read(topic)} if broker.exists(topic) else set()


def rows() -> tuple[int, int]:
    """How many wait in each database."""
    return len(saved_events()), len(saved_events(using="other"))


def test_an_event_is_in_the_transaction_of_the_database_that_it_is_sent_with(broker: Broker, other: str) -> None:
    topic = numbers()
    with transaction.atomic(), pytest.raises(TransactionRequired, match="of database 'other'"):
        topic.send({"n": 0}, using="other")
    with transaction.atomic(using="other"), pytest.raises(TransactionRequired, match="of database 'default'"):
        topic.send({"n": 0})
    with transaction.atomic(), transaction.atomic(using="other"):
        topic.send({"n": 1}, using="other")
        topic.send_many([topic.event({"n": 2})], using="default")
    with pytest.raises(ZeroDivisionError), transaction.atomic(using="other"):
        topic.send({"n": 3}, using="other")
        _ = 1 / 0
    assert rows() == (1, 1)


def test_each_is_sent_after_the_commit_of_its_own_transaction(broker: Broker, other: str) -> None:
    topic = numbers()
    with sending():
        with transaction.atomic(using="other"):
            with transaction.atomic():
                topic.send({"n": 1}, using="other")
                topic.send({"n": 2})
            wait_for(lambda: sent(broker) == {2})
            assert OutgoingEvent.objects.using("other").count() == 1, "seen by its own transaction only"
        wait_for(lambda: sent(broker) == {1, 2})
        wait_for(lambda: rows() == (0, 0))


def test_what_is_set_aside_in_each_is_seen_and_sent_again_in_the_admin(client: Client, other: str) -> None:
    login(client, "view_outgoingevent", "send_again_outgoingevent")
    topic = numbers()
    for number, using in enumerate(("default", "other", "other")):
        with transaction.atomic(using=using):
            topic.send({"n": number}, using=using)
        OutgoingEvent.objects.set_aside({row.pk: "too large" for row in saved_events(using=using)}, using)
    page = reverse("admin:django_events_outgoingevent_changelist")
    assert "1 outgoing event" in client.get(page).content.decode()
    of_other = f"{page}?place=aside&database=other"
    assert "2 outgoing events" in client.get(of_other).content.decode()
    ids = ",".join(str(row.pk) for row in saved_events(using="other"))
    confirmed = {"action": "send_again", "index": "0", "select_across": "1", "_selected_action": "confirmed"}
    done = client.post(of_other, confirmed | {"confirmed": ids}, follow=True)
    assert "2 events are sent again" in done.content.decode()
    assert [row.error for row in saved_events(using="other")] == [None, None]
    assert [row.error for row in saved_events()] == ["too large"]


def test_the_admin_sends_again_where_events_are_written_not_where_they_are_read(
    client: Client, other: str, settings: Any
) -> None:
    settings.DATABASE_ROUTERS = ["tests.test_several_databases.ReadsInOther"]
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "DATABASES": ["default"]}
    login(client, "view_outgoingevent", "send_again_outgoingevent")
    with transaction.atomic():
        numbers().send({"n": 1})
    OutgoingEvent.objects.set_aside({row.pk: "too large" for row in saved_events()}, "default")
    page = client.get(reverse("admin:django_events_outgoingevent_changelist"), {"place": "aside"})
    assert "1 outgoing event" in page.content.decode()


def test_the_router_says_where_events_go(broker: Broker, other: str, settings: Any) -> None:
    settings.DATABASE_ROUTERS = ["tests.test_several_databases.EventsInOther"]
    with transaction.atomic(using="other"):
        numbers().send({"n": 1})
    with transaction.atomic():
        numbers().send({"n": 2}, using="default")
    assert rows() == (1, 1)


def test_a_database_without_an_outbox_is_refused(broker: Broker, other: str, settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "DATABASES": ["default"]}
    with transaction.atomic(using="other"), pytest.raises(SettingsError, match="'other' has no outbox"):
        numbers().send({"n": 1}, using="other")
    assert rows() == (0, 0)


def test_what_an_exactly_once_handler_sends_is_in_its_transaction(
    broker: Broker, other: str, settings: Any, consuming: Callable[..., AbstractContextManager[Service]]
) -> None:
    settings.DATABASE_ROUTERS = ["tests.test_several_databases.HandlersInOther"]
    orders, bills = Topic("orders", Payload), Topic("bills", Payload)
    group = ConsumerGroup("invoices")
    tries: list[int] = []

    @group.exactly_once(orders)
    def bill(event: Event[Payload]) -> None:
        tries.append(event.payload["n"])
        bills.send({"n": event.payload["n"], "try": len(tries)})
        if len(tries) == 1:
            raise ValueError("the first try fails")

    topics.create_missing(["orders", "bills"], timeout=60)
    with sending():
        with transaction.atomic():
            orders.send({"n": 1}, key="1")
        with consuming(group):
            wait_for(lambda: sent(broker, "bills"))
    assert all(record.payload == {"n": 1, "try": 2} for record in broker.read("bills"))
    assert ProcessedEvent.objects.using("other").count() == 1
    assert ProcessedEvent.objects.using("default").count() == 0


def test_a_handler_says_which_database_its_transaction_is_in(
    broker: Broker, other: str, consuming: Callable[..., AbstractContextManager[Service]]
) -> None:
    orders, bills = Topic("orders", Payload), Topic("bills", Payload)
    group = ConsumerGroup("invoices")
    tries: list[int] = []

    @group.exactly_once(orders, using="other", retry=Backoff(first=0.05))
    def bill(event: Event[Payload]) -> None:
        assert transaction.get_connection("other").in_atomic_block
        tries.append(event.payload["n"])
        bills.send({"n": event.payload["n"], "try": len(tries)})
        if len(tries) == 1:
            raise ValueError("the first try fails")

    topics.create_missing(["orders", "bills"], timeout=60)
    with sending():
        with transaction.atomic():
            orders.send({"n": 1}, key="1")
        with consuming(group):
            wait_for(lambda: sent(broker, "bills"))
    assert all(record.payload == {"n": 1, "try": 2} for record in broker.read("bills"))
    assert ProcessedEvent.objects.using("other").count() == 1
    assert ProcessedEvent.objects.using("default").count() == 0


def test_a_letter_is_closed_at_once_if_its_handler_has_a_mark_of_its_event_in_another_database(other: str) -> None:
    @ConsumerGroup("invoices").exactly_once(Topic("orders", Payload), using="other")
    def bill(event: Event[Payload]) -> None: ...

    place = {"topic": "orders", "group_name": "invoices", "handler": "bill"}
    done, open_ = (a_letter(name, **place) for name in ("done", "open"))
    mark = {"key": done.event_key, "source": "tests", "event_id": "done", **place}
    ProcessedEvent.objects.using("other").create(**mark)
    assert [(row.event_id, row.state) for row in project(done, open_)] == [
        ("done", State.RESOLVED),
        ("open", State.WAITING),
    ]


def test_catchup_looks_after_all_of_them_or_those_that_are_named(
    broker: Broker, other: str, site: Site, settings: Any
) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "SEND_AFTER_COMMIT": False}
    both = {"OTHER_DATABASE_URL": address_of(other)}
    topics.create_missing(["ledger.entry-made"], timeout=60)
    for number in range(3):
        with transaction.atomic(), transaction.atomic(using="other"):
            entry_made.send(EntryMade("default", number), key="a")
            entry_made.send(EntryMade("other", number), key="a", using="other")
    assert rows() == (3, 3)
    site.catch_up("--database=other", **both)
    assert rows() == (3, 0)
    found = [(each.payload["account"], each.payload["number"]) for each in broker.read("ledger.entry-made")]
    assert [*dict.fromkeys(found)] == [("other", number) for number in range(3)]  # a slow Kafka may have some twice
    site.catch_up(**both)
    assert rows() == (0, 0)


def test_a_database_that_is_away_holds_up_its_own_events_alone(broker: Broker, other: str, site: Site) -> None:
    topics.create_missing(["ledger.entry-made"], timeout=60)
    catchup = site.start("catchup", "--interval=0.1", OTHER_DATABASE_URL=address_of(other))
    save("default", 1)
    wait_for(lambda: arrived(broker) == {1})
    connections["other"].close()
    let_nobody_into(other)
    catchup.says("Reading the outbox of other: ")
    save("default", 2)
    wait_for(lambda: arrived(broker) == {1, 2})
    let_everybody_into(other)
    save("other", 3)
    wait_for(lambda: arrived(broker) == {1, 2, 3})
    catchup.says("Reading the outbox of other: works again")


def arrived(broker: Broker) -> set[int]:
    return {record.payload["number"] for record in broker.read("ledger.entry-made")}


def save(using: str, number: int) -> None:
    with transaction.atomic(using=using):
        entry_made.send(EntryMade(using, number), key="a", using=using)


def let_nobody_into(database: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f'ALTER DATABASE "{database}" WITH ALLOW_CONNECTIONS false')
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database])


def let_everybody_into(database: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f'ALTER DATABASE "{database}" WITH ALLOW_CONNECTIONS true')


def test_catchup_says_which_databases_have_an_outbox(broker: Broker, other: str, settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "DATABASES": ["other"]}
    with pytest.raises(CommandError, match=r"No outbox in database default\. .* names \['other'\]"):
        call_command("catchup", "--once", "--database=default")
