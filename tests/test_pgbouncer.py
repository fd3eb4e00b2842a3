"""Behind PgBouncer in transaction mode, with the settings that Django documents for it, everything works the same."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from django_events.kafka import topics
from django_events.models import DeadLetter, OutgoingEvent, State
from tests.broker import Broker
from tests.ledger.entries import make_entry
from tests.ledger.models import Account, Entry
from tests.processes import Site
from tests.services import REQUIRED
from tests.services.installing import Unavailable
from tests.services.pgbouncer import PgBouncer
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


@pytest.fixture
def behind(transactional_db: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of processes whose database is behind PgBouncer."""
    folder = tmp_path_factory.mktemp("pgbouncer")
    for path in (folder, folder.parent, folder.parent.parent):
        path.chmod(0o755)  # PgBouncer runs as another user
    server = PgBouncer(folder / "server", connection.settings_dict)
    try:
        server.prepare()
        server.restart()
    except Unavailable as error:
        (pytest.fail if os.environ.get(REQUIRED) else pytest.skip)(f"no PgBouncer: {error}")
    yield {"DATABASE_URL": f"{server.address}?DISABLE_SERVER_SIDE_CURSORS=True"}
    server.stop()


def booked() -> list[tuple[str, int]]:
    return sorted(Entry.objects.filter(handler="ledger/book").values_list("account", "number"))


def test_events_are_sent_and_handled_and_letters_are_tried(
    site: Site, broker: Broker, behind: dict[str, str], tmp_path: Path
) -> None:
    topics.create_missing(["ledger.entry-made", "ledger.entry-closed"], timeout=60)
    Account.objects.create(name="ill-account-1")
    senders = [site.start("make_entries", "--accounts=5", "--entries=50", **behind) for _ in range(2)]
    site.start("catchup", "--interval=0.1", **behind)
    for group in ("ledger", "clinic"):
        site.start("consume", group, **behind)
    for sender in senders:
        sender.succeeds()
    expected = [(f"account-{account}", number) for account in range(5) for number in range(1, 21)]
    wait_for(lambda: booked() == expected)
    wait_for(lambda: not OutgoingEvent.objects.exists())
    wait_for(lambda: DeadLetter.objects.count() == 20)
    assert DeadLetter.objects.filter(due_at__isnull=False).count() == 1
    Account.objects.filter(name="ill-account-1").delete()
    wait_for(lambda: DeadLetter.objects.filter(state=State.RESOLVED).count() == 20)
    cured = Entry.objects.filter(handler="clinic/cure", account="account-1").order_by("pk")
    assert [*cured.values_list("number", flat=True)] == list(range(1, 21))
    make_entry("unused")  # and without PgBouncer in between, beside it
    wait_for(lambda: ("unused", 1) in booked())
