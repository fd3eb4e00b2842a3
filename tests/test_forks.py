"""A process that forks after its first event: children send their own events and subscribe anew; the parent goes on."""

import pytest

from django_events.kafka import topics
from django_events.models import OutgoingEvent
from tests.broker import Broker
from tests.processes import Site
from tests.waiting import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


def test_parent_and_children_send_their_events(site: Site, broker: Broker) -> None:
    topics.create_missing(["ledger.entry-made"], timeout=60)
    output = site.run("make_entries_in_forks", "--children=3")
    assert "Traceback" not in output
    wait_for(lambda: not OutgoingEvent.objects.exists())
    sent = {(record.key, record.payload["number"]) for record in broker.read("ledger.entry-made")}
    assert sent == {(name, number) for name in (b"parent", b"child-0", b"child-1", b"child-2") for number in (1, 2)}


CALLS = """
import os
from types import SimpleNamespace
from django_events.consuming.calls import Call, running

handler, event, thread = SimpleNamespace(), SimpleNamespace(), SimpleNamespace(ident=None)
with Call(handler, [event]) as call:
    import threading
    thread.ident = threading.get_ident()
    assert running([thread]) == [call]
    child = os.fork()
    if not child:
        os._exit(len(running([thread])))
    print("calls in the child:", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_takes_no_call_of_its_parent_for_one_of_its_own(site: Site) -> None:
    """Its threads have the names of those that have gone."""
    assert "calls in the child: 0" in site.run("shell", "-v0", "-c", CALLS)


SUBSCRIPTIONS = """
import os, sys, time
from django_events import SubscriptionLost
from tests.ledger.events import entry_made

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # at once: threads of two processes say something

calls = []

def call(event):
    say("called", os.getpid(), event.payload.number)
    calls.append(event)

called = entry_made.subscribe(callback=call, timeout=60).open()
later = entry_made.subscribe(key="ann", timeout=60)
with entry_made.subscribe(key="ann", timeout=60) as events:
    say("parent", os.getpid())
    events.get(timeout=90)
    is_read, tell = os.pipe()
    if child := os.fork():
        second = events.get(timeout=90)
        os.write(tell, b".")
        say("parent got", [second.payload.number, events.get(timeout=90).payload.number])
        assert os.waitpid(child, 0)[1] == 0
        while len(calls) < 3:  # its thread may be late
            time.sleep(0.01)
    else:
        for read in (events.get, called.get, lambda: next(iter(events))):
            try:
                say("child got", read())
            except SubscriptionLost as error:
                say("child", str(error).partition(" was ")[0])
        called.close()
        os.read(is_read, 1)  # Kafka has the second event, so what is opened now begins behind it
        with events.open(), later:
            say("child subscribed")
            say("child got", [each.get(timeout=90).payload.number for each in (events, later)])
        sys.exit(0)  # with all that happens at the end of a process
"""


def test_subscriptions_go_on_in_the_parent_and_a_child_is_told_to_open_its_own(site: Site, broker: Broker) -> None:
    topics.create_missing(["ledger.entry-made"], timeout=60)

    def put(number: int) -> None:
        broker.put("ledger.entry-made", b'{"account":"a","number":%d}' % number, key=b"ann", partition=0)

    process = site.start("shell", "-v0", "-c", SUBSCRIPTIONS)
    process.says("parent")
    put(1)  # its reader runs, and the thread of its callbacks
    wait_for(lambda: process.output.count("A subscription to topic 'ledger.entry-made'") >= 3)
    put(2)
    process.says("child subscribed")
    put(3)
    output = process.succeeds()
    assert "child got [3, 3]" in output
    assert "parent got [2, 3]" in output
    parent = output.partition("parent ")[2].split()[0]
    called = [line.split()[1:] for line in output.splitlines() if line.startswith("called")]
    assert called == [[parent, "1"], [parent, "2"], [parent, "3"]]
