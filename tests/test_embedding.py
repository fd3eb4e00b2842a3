"""Service in a process of one's own: start means assigned, errors surface, services do not disturb each other."""

import os
import re
import signal
import threading
import time
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import TransactionTestCase, override_settings

from django_events import (
    ConsumerGroup,
    DeclarationError,
    Event,
    Service,
    ServiceError,
    Topic,
    broadcast,
    broadcast_is_live,
    broadcast_latency,
    broadcasting,
)
from django_events.consuming.broadcast_handler import BroadcastThread
from django_events.exceptions import ConsumerFailed
from django_events.kafka import consumer_groups, topics
from django_events.kafka.consumer_groups import Membership
from django_events.kafka.record import Partition
from django_events.testing import sending
from testproject.billing.handlers import billing
from testproject.billing.models import Invoice
from testproject.shop.orders import place
from tests.broker import Broker
from tests.ledger.events import EntryMade, entry_made
from tests.processes import ROOT, Site
from tests.waiting import wait_for

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.postgres,
    pytest.mark.usefixtures("declarations", "transactional_db"),
]

TOPIC = "ledger.entry-made"
BODY = b'{"account":"a","number":1}'


class Readers:
    """A group that reads what is sent from now on, and the keys that it was called with."""

    def __init__(self, name: str, topic: Topic[Any] = entry_made) -> None:
        self.group = ConsumerGroup(name, start="latest")
        self.read: list[str | None] = []

        @self.group.idempotent(topic)
        def note(event: Event[Any]) -> None:
            self.read.append(event.key)


def threads_of(*groups: str) -> list[str]:
    """The threads of these groups. A worker that is stopped may need a moment on a busy machine."""
    return [each.name for each in threading.enumerate() if any(f"-{group}" in each.name for group in groups)]


def test_what_is_sent_after_the_start_is_handled_with_both_protocols(protocol: str, broker: Broker) -> None:
    for name in ("readers", "others"):
        broker.set_session(name, 60)  # with the new protocol it is Kafka that ends sessions
    readers, others = Readers("readers"), Readers("others")
    with Service(groups=[readers.group, others.group]) as service:
        assert [broker.committed(name, TOPIC, number) for name in ("readers", "others") for number in (0, 1)] == [0] * 4
        for number in (0, 1):
            broker.put(TOPIC, BODY, key=b"%d" % number, partition=number)
        wait_for(lambda: service.records_done == 4)
    assert sorted(map(str, readers.read)) == sorted(map(str, others.read)) == ["0", "1"]
    wait_for(lambda: not threads_of("readers", "others"))


def test_a_process_for_which_no_partition_is_left_has_started_with_both_protocols(
    protocol: str, broker: Broker
) -> None:
    broker.create(TOPIC, partitions=1)
    broker.set_session("readers", 60)
    readers = Readers("readers")
    with Service([readers.group]) as first:
        with Service([readers.group]) as second:
            partitions = [each for service in (first, second) for each in service._groups[0].partitions]
            assert len(partitions) == 1
        broker.put(TOPIC, BODY, key=b"ann")
        wait_for(lambda: readers.read == ["ann"])


def test_a_start_without_all_partitions_says_what_is_missing_and_leaves_nothing_running(
    broker: Broker, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    unassigned = consumer_groups.unassigned
    monkeypatch.setattr(consumer_groups, "unassigned", lambda asked, _timeout: unassigned(asked, 60))  # of a busy Kafka
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "AUTO_CREATE_TOPICS": False}
    broker.create(TOPIC)
    readers = Readers("readers")

    @readers.group.idempotent(Topic("nowhere", dict[str, Any]))
    def ignore(event: Event[dict[str, Any]]) -> None: ...

    service = Service(groups=[readers.group])
    with pytest.raises(ServiceError, match="within 5 s: Kafka does not have the topic nowhere, which readers handles"):
        service.start(timeout=5)
    wait_for(lambda: not threads_of("readers"))


def test_who_has_all_partitions_asks_nobody_who_has_the_rest(broker: Broker, monkeypatch: Any) -> None:
    """librdkafka's question for a group's members may abort the process when a node dies."""
    monkeypatch.setattr(consumer_groups, "_described", lambda *_: pytest.fail("it was asked"))
    broker.create(TOPIC)
    both = [Partition(TOPIC, number) for number in (0, 1)]
    alone = Membership(group="readers", topics=[TOPIC], member_id="me", partitions=both, has_heard=True)
    assert consumer_groups.unassigned([alone], timeout=60) == []


def test_a_start_waits_for_a_topic_that_comes_late(broker: Broker, settings: Any) -> None:
    own = settings.DJANGO_EVENTS["KAFKA_CONSUMER"] | {"topic.metadata.refresh.interval.ms": 500}
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA_CONSUMER": own, "AUTO_CREATE_TOPICS": False}
    broker.create(TOPIC)
    readers = Readers("readers")

    @readers.group.idempotent(Topic("late", dict[str, Any]))
    def ignore(event: Event[dict[str, Any]]) -> None: ...

    service = Service(groups=[readers.group])
    starting = threading.Thread(target=service.start)
    starting.start()
    wait_for(lambda: service.is_assigned)
    assert starting.is_alive()
    broker.create("late")
    starting.join()
    assert {each.topic for each in service._groups[0]._progress} == {TOPIC, "late"}
    assert service.stop()


def test_a_start_without_kafka_ends_in_time_and_says_why(settings: Any) -> None:
    kafka = {"bootstrap.servers": "127.0.0.1:1"}
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA": kafka}
    readers = Readers("readers")
    service = Service([readers.group], start_timeout=1)
    with pytest.raises(ServiceError, match=r"(?s)within 1 s: .*127\.0\.0\.1:1"), service:
        pytest.fail("it has started")


def test_what_ends_a_thread_is_raised_by_wait_and_at_the_end(broker: Broker, monkeypatch: Any) -> None:
    readers = Readers("readers")

    def refused(*_: object) -> None:
        raise ConsumerFailed("fenced")

    with pytest.raises(ConsumerFailed, match="fenced"), Service([readers.group]) as service:
        assert not service.wait(timeout=0.2)
        monkeypatch.setattr(service._groups[0], "_turn", refused)
        with pytest.raises(ConsumerFailed, match="fenced"):
            service.wait()
    assert service.stop()


def test_what_ends_a_thread_in_the_moment_of_the_look_is_raised_too(monkeypatch: Any) -> None:
    service = Service([Readers("readers").group])
    service._has_begun = True
    (group,) = service._groups

    def has_just_ended() -> bool:
        group.error = ConsumerFailed("fenced")
        return False

    monkeypatch.setattr(group, "is_alive", has_just_ended)
    with pytest.raises(ConsumerFailed, match="fenced"):
        service.wait(0)


def test_what_ends_a_thread_early_ends_the_start(broker: Broker, settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA_CONSUMER": {"session.timeout.ms": -1}}
    readers = Readers("readers")
    with pytest.raises(DeclarationError, match=r"session\.timeout\.ms"):
        Service([readers.group]).start()


def test_wait_ends_when_another_thread_has_stopped_the_service(broker: Broker) -> None:
    readers = Readers("readers")
    service = Service([readers.group])
    service.start()
    threading.Thread(target=service.stop).start()
    assert service.wait()
    assert not any(thread.is_alive() for thread in service._threads)
    assert service.stop()


def test_two_services_of_one_group_share_it_and_one_goes_on_without_the_other(broker: Broker) -> None:
    readers, others = Readers("readers"), Readers("others")
    with Service([readers.group]) as staying:
        with Service([readers.group, others.group]) as leaving:
            wait_for(lambda: [len(each._groups[0]._progress) for each in (staying, leaving)] == [1, 1])
            for number in (0, 1):
                broker.put(TOPIC, BODY, key=b"shared", partition=number)
            wait_for(lambda: (staying.records_done, leaving.records_done) == (1, 3))
        assert staying.is_healthy
        assert not staying.wait(0)
        wait_for(lambda: len(staying._groups[0]._progress) == 2)
        for number in (0, 1):
            broker.put(TOPIC, BODY, key=b"alone", partition=number)
        wait_for(lambda: staying.records_done == 3)
    assert sorted(map(str, readers.read)) == ["alone", "alone", "shared", "shared"]
    assert others.read == ["shared", "shared"]


def test_a_handler_that_does_not_end_is_an_error_at_the_end(broker: Broker) -> None:
    group = ConsumerGroup("slow")
    began, may_end = threading.Event(), threading.Event()

    @group.idempotent(entry_made)
    def wait(event: Event[EntryMade]) -> None:
        began.set()
        may_end.wait()

    try:
        with pytest.raises(ServiceError, match="did not end within 0"), Service([group], shutdown_timeout=0):
            broker.put(TOPIC, BODY)
            wait_for(began.is_set)
    finally:
        may_end.set()


def test_what_is_used_in_a_wrong_order_is_refused() -> None:
    readers = Readers("readers")
    service = Service([readers.group])
    with pytest.raises(ServiceError, match="was not started"):
        service.wait()
    assert service.stop()  # nothing to stop
    service._has_begun = True
    with pytest.raises(ServiceError, match="was started before"):
        service.start()


def test_a_service_has_something_to_run() -> None:
    with pytest.raises(DeclarationError, match="is to run no consumer group and no broadcast handler"):
        Service(groups=[], broadcast=[])
    with pytest.raises(DeclarationError, match="the group 'empty', which has no handlers"):
        Service(groups=[ConsumerGroup("empty")])
    assert "billing" in [thread.group.name for thread in Service()._groups]


# ── broadcast handlers ───────────────────────────────────────────────────────────────────────────────────────────────


def heard_by(name: str) -> list[str | None]:
    """Declare a broadcast handler; the keys that it is called with."""
    heard: list[str | None] = []

    @broadcast(entry_made, name=name)
    def hear(event: Event[EntryMade]) -> None:
        heard.append(event.key)

    return heard


def threads_of_broadcast() -> list[str]:
    names = ("django-events-broadcast", "django-events-heart")
    return [each.name for each in threading.enumerate() if each.name.startswith(names)]


def test_broadcast_handlers_run_beside_the_groups_that_are_named(broker: Broker) -> None:
    readers, heard = Readers("readers"), heard_by("hear")
    with Service([readers.group]) as service:
        assert service.is_healthy
        broker.put(TOPIC, BODY, key=b"ann")
        wait_for(lambda: (readers.read, heard) == (["ann"], ["ann"]))
        assert service.is_healthy
    wait_for(lambda: not threads_of_broadcast())


def test_the_health_of_a_process_is_that_of_all_that_run_there(broker: Broker, monkeypatch: Any) -> None:
    """Also where nobody has called start_broadcast(): ``consume`` is a Service, too."""
    topics.create_missing([TOPIC], timeout=60)
    heard_by("hear")
    heard_by("other")
    first, second = broadcasting.chosen(broadcasting.declared())
    assert not broadcast_is_live()
    with Service(groups=[], broadcast=[first]):
        wait_for(broadcast_is_live)
        assert broadcast_is_live("hear") and broadcast_latency("hear") < 20
        assert not broadcast_is_live("other") and broadcast_latency("other") == float("inf")
        with pytest.raises(DeclarationError, match="No broadcast handler is named 'nobody'. Those that are declared:"):
            broadcast_is_live("nobody")
        with Service(groups=[], broadcast=[first, second]):
            wait_for(broadcast_is_live)
            with monkeypatch.context() as patched:
                patched.setattr(
                    BroadcastThread, "latency", property(lambda thread: 100.0 * thread.name.endswith("other"))
                )
                assert (broadcast_latency(), broadcast_latency("other")) == (100.0, 100.0)
                assert not broadcast_is_live() and not broadcast_is_live("other")
        wait_for(broadcast_is_live)
    assert not broadcast_is_live()
    assert broadcast_latency("hear") == float("inf")


def test_only_those_run_that_are_named_and_no_group_need_run(broker: Broker) -> None:
    topics.create_missing([TOPIC], timeout=60)
    heard: list[str | None] = []

    @broadcast(entry_made)
    def wanted(event: Event[EntryMade]) -> None:
        heard.append(event.key)

    unwanted = heard_by("unwanted")
    with Service(groups=[], broadcast=[wanted]) as service:
        broker.put(TOPIC, BODY, key=b"ann")
        wait_for(lambda: heard == ["ann"])
        assert not service.wait(0)
        assert "unwanted" not in " ".join(threads_of_broadcast())
    assert not unwanted
    wait_for(lambda: not threads_of_broadcast())
    with Service([Readers("readers").group], broadcast=[]):
        assert not threads_of_broadcast()


def test_what_is_no_broadcast_handler_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"heard_by at .* is no broadcast handler\. .*@broadcast"):
        Service(groups=[], broadcast=[heard_by])  # type: ignore[list-item]
    heard_by("hear")
    assert [each.name for each in Service()._broadcast.threads[1:]] == ["django-events-broadcast-hear"]


def test_a_start_waits_for_broadcast_and_says_why_it_has_not_begun(settings: Any, monkeypatch: Any) -> None:
    create_missing = topics.create_missing  # whose answer is waited for for five seconds
    monkeypatch.setattr(topics, "create_missing", lambda wanted, timeout: create_missing(wanted, 0.2))
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA": {"bootstrap.servers": "127.0.0.1:1"}}
    heard_by("hear")
    with pytest.raises(ServiceError, match=r"(?s)have not begun within 7 s: .*127\.0\.0\.1:1"):
        Service(groups=[]).start(timeout=7)
    wait_for(lambda: not threads_of_broadcast())


def test_settings_that_cannot_be_end_the_start_of_broadcast(broker: Broker, settings: Any) -> None:
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "KAFKA_CONSUMER": {"session.timeout.ms": -1}}
    heard_by("hear")
    with pytest.raises(DeclarationError, match=r"session\.timeout\.ms"):
        Service(groups=[]).start()
    with sending(), pytest.raises(DeclarationError, match=r"session\.timeout\.ms"):
        entry_made.subscribe().open()  # nor is it waited for there


def test_what_ends_a_thread_of_broadcast_is_raised_by_wait(broker: Broker, monkeypatch: Any) -> None:
    heard_by("hear")

    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"), Service(groups=[]) as service:
        monkeypatch.setattr(BroadcastThread, "_take_on", fail)
        with pytest.raises(RuntimeError, match="a bug"):
            service.wait()
        wait_for(lambda: not service.is_healthy)
        assert service._broadcast.latency("hear") == float("inf")
    wait_for(lambda: not threads_of_broadcast())


def test_services_with_broadcast_do_not_disturb_each_other(broker: Broker) -> None:
    heard = heard_by("hear")
    with Service(groups=[]) as staying:
        with Service(groups=[]):
            broker.put(TOPIC, BODY, key=b"ann")
            wait_for(lambda: heard == ["ann", "ann"])
        assert staying.is_healthy
        broker.put(TOPIC, BODY, key=b"bob")
        wait_for(lambda: heard == ["ann", "ann", "bob"])


def test_a_broadcast_handler_that_does_not_end_is_an_error_at_the_end(broker: Broker) -> None:
    began, may_end = threading.Event(), threading.Event()

    @broadcast(entry_made)
    def wait(event: Event[EntryMade]) -> None:
        began.set()
        may_end.wait()

    try:
        with pytest.raises(ServiceError, match="did not end within 0"), Service(groups=[], shutdown_timeout=0):
            broker.put(TOPIC, BODY)
            wait_for(began.is_set)
    finally:
        may_end.set()


# ── the documentation's examples ─────────────────────────────────────────────────────────────────────────────────


def example(page: str, title: str) -> str:
    text = (ROOT / "docs" / page).read_text()
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if title in block]
    return str(code)


def test_the_worker_of_the_documentation_works(site: Site, tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(example("embedding.md", "# worker.py"))
    worker = site.start_module("worker", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    worker.says("billing is running")
    with sending():
        order = place("ann", Decimal("9.50"))
        wait_for(lambda: Invoice.objects.filter(order_id=order.pk).exists())
    worker.signal(signal.SIGTERM)
    worker.succeeds()


def test_the_test_of_the_documentation_works(broker: Broker) -> None:
    found: dict[str, Any] = {
        **{"TransactionTestCase": TransactionTestCase, "override_settings": override_settings},
        **{"Service": Service, "sending": sending, "billing": billing, "place": place, "Invoice": Invoice},
        **{"settings": django_settings, "uuid": uuid, "time": time, "Decimal": Decimal},
    }
    exec(example("testing-with-kafka.md", "class BillingTests"), found)
    found["BillingTests"]("test_an_order_makes_an_invoice").debug()  # runs it, and raises what goes wrong
