"""P6: the first deliveries of one key are in the order of its transactions, whoever sends."""

from collections import defaultdict

import pytest

from django_events.kafka import topics
from django_events.models import OutgoingEvent
from tests.broker import Broker
from tests.ledger.models import Account
from tests.processes import Site
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


def first_deliveries(broker: Broker) -> dict[bytes | None, list[int]]:
    """The numbers of each key's events in the order of their first delivery."""
    seen: dict[bytes | None, dict[int, None]] = defaultdict(dict)
    for record in broker.read("ledger.entry-made"):
        seen[record.key].setdefault(record.payload["number"])
    return {key: list(numbers) for key, numbers in seen.items()}


def in_order() -> dict[bytes | None, list[int]]:
    return {account.name.encode(): list(range(1, account.last + 1)) for account in Account.objects.all()}


def test_two_relays_and_four_sending_processes_keep_the_order_of_fifty_keys(site: Site, broker: Broker) -> None:
    topics.create_missing(["ledger.entry-made"], timeout=60)
    relays = [site.start("catchup", "--interval=0.05") for _ in range(2)]
    senders = [
        site.start("make_entries", "--entries=1250", "--accounts=50", f"--first={12 * number}") for number in range(4)
    ]
    for sender in senders:
        sender.succeeds(180)
    wait_for(lambda: not OutgoingEvent.objects.exists())
    assert all(relay.running() for relay in relays)
    assert sum(account.last for account in Account.objects.all()) == 5000
    assert first_deliveries(broker) == in_order()


def test_the_order_is_kept_while_senders_are_killed(site: Site, broker: Broker) -> None:
    topics.create_missing(["ledger.entry-made"], timeout=60)
    points = ("produced-not-acknowledged", "acknowledged-not-deleted", "deleted-not-committed", "lanes-locked")
    senders = [
        site.start("make_entries", "--entries=100000", "--accounts=10", DJANGO_EVENTS_CRASH_AT=f"{point}:{20 + number}")
        for number, point in enumerate(points)
    ]
    site.start("catchup", "--interval=0.05")
    for sender in senders:
        assert sender.was_killed_by_itself(), sender.output
    wait_for(lambda: not OutgoingEvent.objects.exists())
    assert first_deliveries(broker) == in_order()
