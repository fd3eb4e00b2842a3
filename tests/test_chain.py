"""Consume, change, send: three services in a row, each of which is killed again and again while events flow."""

import random
from collections import defaultdict

import pytest

from django_events.kafka import topics
from tests.broker import Broker
from tests.ledger.models import Account, Entry
from tests.processes import Process, Site
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

SERVICES = ("checking", "filing", "reporting")
SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.chain.settings"}
ENTRIES = 400
KILLS = 2
"""Of each service."""


class Service:
    """One of them, with a process that can be replaced."""

    def __init__(self, site: Site, name: str) -> None:
        self._site = site
        self.name = name
        self.process = self._start()

    def replace_after(self, effects: int) -> None:
        """SIGKILL, as soon as the process has had so many effects or all are done; then another takes its place."""
        wait_for(lambda: Entry.objects.filter(process=self.process.pid).count() >= effects or self.has_done_all())
        self.process.kill()
        self.process = self._start()

    def has_done_all(self) -> bool:
        return Entry.objects.filter(handler=self.name).count() >= ENTRIES

    def _start(self) -> Process:
        return self._site.start("consume", self.name, **SETTINGS)


def numbers(service: str) -> dict[str, list[int]]:
    """The numbers of each account, in the order in which this service took effect."""
    found: dict[str, list[int]] = defaultdict(list)
    for account, number in Entry.objects.filter(handler=service).order_by("pk").values_list("account", "number"):
        found[account].append(number)
    return dict(found)


def test_effects_happen_once_and_in_order_in_a_chain_of_services_that_are_killed(site: Site, broker: Broker) -> None:
    topics.create_missing(["ledger.entry-made"], timeout=60)
    for topic in ("chain.entry-checked", "chain.entry-filed"):
        broker.create(topic)
    services = [Service(site, name) for name in SERVICES]
    site.start("catchup", "--interval=0.2", **SETTINGS)
    draw = random.Random(5)
    victims = draw.sample(services, counts=[KILLS] * 3, k=3 * KILLS)
    sender = site.start("make_entries", f"--entries={ENTRIES}", "--accounts=12", "--rate=60")
    for victim in victims:
        victim.replace_after(draw.randint(1, 40))
    sender.succeeds()
    made = {account.name: [*range(1, account.last + 1)] for account in Account.objects.all()}
    wait_for(services[-1].has_done_all)
    assert {name: numbers(name) for name in SERVICES} == dict.fromkeys(SERVICES, made)
    assert all(service.process.running() for service in services)
