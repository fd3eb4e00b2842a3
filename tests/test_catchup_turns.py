"""``catchup`` gives everybody a turn: who is late does not wait until all is sent that waited before."""

from typing import Any

import pytest
from django.db import transaction

from django_events import Topic, signals
from django_events.producing import catchup
from django_events.producing.catchup import Catchup
from django_events.stopping import Stop
from tests.broker import Broker

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.usefixtures("declarations", "transactional_db")]

MANY = 500


def test_what_is_saved_meanwhile_does_not_wait_for_the_whole_backlog(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catchup, "LOOK_AGAIN", 0.0)
    busy, quiet = Topic("busy", dict[str, int]), Topic("quiet", dict[str, int])
    for topic in (busy, quiet):
        broker.create(topic.name)
    with transaction.atomic():
        busy.send_many([busy.event({"number": number}, key="k") for number in range(MANY)])
    sent: list[str] = []
    stop = Stop()

    def note(sender: str, **_: Any) -> None:
        sent.append(sender)
        if len(sent) == 1:
            with transaction.atomic():
                quiet.send({"number": 0}, key="k")
        if len(sent) == MANY + 1:
            stop.set()

    signals.event_sent.connect(note)
    try:
        Catchup(["default"], rows=100).run(0.01, stop)
    finally:
        signals.event_sent.disconnect(note)
    assert sent.index("quiet") < MANY - 100
