"""Catch-up: looks for rows that nobody has sent, whoever wrote them, and sends them."""

import logging
import math
import random
import time
from collections.abc import Sequence
from contextlib import suppress

from django.db import Error as DatabaseError
from django.db import connections

from django_events.exceptions import BrokerUnavailable
from django_events.models import Kind, LaneName, OutgoingEvent
from django_events.presence.activity import Activity
from django_events.presence.presence import presence
from django_events.producing.holds import Holds
from django_events.producing.sender import ROWS, Sender, can_lock_rows, round_transaction
from django_events.producing.turns import Partner, Pass, Turns
from django_events.retry import Backoff
from django_events.stopping import Stop
from django_events.trouble import Trouble

logger = logging.getLogger("django_events.catchup")

OUTAGE = Backoff(first=0.5, max=30.0)
"""Seconds between two tries while Kafka or the database does not answer."""

LOOK_WAIT = 5.0
"""Seconds that the transaction of a look may stand still."""

LOOK_AGAIN = 1.0
"""Seconds of a pass after which it ends with its round: lanes that have got rows meanwhile, and other databases, do not
wait until all is sent that waited at the look."""

LANES_OF_A_ROUND = 8
"""Half of the lanes of one topic, so that two processes share the work of the only topic that has some. Where many rows
wait, a process sends them in two threads, of half as many lanes each."""

ALONE = 60.0
"""Seconds for which there is no second thread after it could not work, such as without another connection."""


class Catchup:
    """Sends what waits in the outboxes of some databases. Owned by one thread; several processes share the work."""

    kind = Kind.CATCHUP

    def __init__(self, databases: Sequence[str], rows: int = ROWS) -> None:
        self._databases = databases
        self._rows = rows
        self._holds = Holds()
        self._sender = Sender(rows, method="catchup", holds=self._holds)
        self._partner: Partner | None = None
        """The second thread, from the first round on that was more than half full, as long as there are such."""
        self._alone_until: dict[str, float] = {}
        """By database, until when (time.monotonic) there is no second thread."""
        self._waiting: dict[str, set[str]] = {}
        """By database, the topics that had rows at the last look."""
        self._kafka = Trouble("kafka", "Sending events to Kafka", logger, OUTAGE)
        self._outboxes = {
            using: Trouble("outbox", f"Reading the outbox of {using}", logger, OUTAGE) for using in databases
        }

    def run(self, interval: float, stop: Stop) -> None:
        """Pass over all databases every ``interval`` seconds until ``stop`` is set; outages are waited out."""
        presence.enter(self)
        try:
            while not stop.is_set():
                now = time.monotonic()
                due = [using for using in self._databases if max(self._kafka.until, self._outboxes[using].until) <= now]
                sent = [self._guarded_pass(using, stop).sent for using in due]
                if not any(sent):
                    stop.wait(interval)
        finally:
            presence.leave(self)
            self.close()

    def activity(self) -> Activity:
        """What the table of processes tells of it. Thread-safe."""
        troubles = [trouble.text for trouble in (self._kafka, *self._outboxes.values()) if trouble.text]
        return Activity(sends=True, troubles=(*troubles, *self._sender.troubles))

    def run_once(self, stop: Stop) -> Pass:
        """Send what waits now; lanes in the hands of others get a second chance. Raises BrokerUnavailable and
        database errors."""
        total = Pass()
        for using in self._databases:
            result = self.one_pass(using, stop)
            total.sent += result.sent
            if result.busy and not result.is_outage:
                result = self.one_pass(using, stop)
                total.sent += result.sent
            total.busy += result.busy
            total.left += result.left
            total.why = result.why or total.why
        self.close()
        return total

    def one_pass(self, using: str, stop: Stop, seconds: float = math.inf) -> Pass:
        """Give the lanes that have rows their turns, until nothing is left or so many seconds have passed."""
        lanes = self._look(using)
        self._forget_what_others_have_sent(lanes, using)
        turns = Turns(lanes, using, stop, time.monotonic() + seconds)
        is_shared = False
        while turns.go_on:
            if self._are_enough_for_two(turns):
                is_shared = True
                if partner := self._ready_partner(using):
                    self._share(turns, partner)
                    continue
            turns.round(self._sender, LANES_OF_A_ROUND)
        if not is_shared:
            self._let_partner_go()
        result = turns.done
        result.left = turns.lanes_left
        if result.left:
            outage = [result.unanswered] if result.is_outage and result.unanswered else []
            result.why = "; ".join([*self._sender.troubles, *outage])
        return result

    def close(self) -> None:
        """Let go of the producers, without waiting."""
        self._let_partner_go()
        self._sender.close()

    def _are_enough_for_two(self, turns: Turns) -> bool:
        """Whether a second thread pays: its connections cost as much as some dozens of rows."""
        if time.monotonic() < self._alone_until.get(turns.using, 0.0) or not can_lock_rows(turns.using):
            return False
        return turns.sent_last > self._rows // 2 and turns.lanes_left > LANES_OF_A_ROUND // 2

    def _ready_partner(self, using: str) -> Partner | None:
        """The second thread, if it has connected; begun if there is none. It is not waited for: a database or a pool
        that has no other connection would hold up everything."""
        if self._partner and self._partner.using != using:
            self._let_partner_go()
        if self._partner is None:
            sender = Sender(self._rows, method="catchup", holds=self._holds)
            self._partner = Partner(sender, using, LANES_OF_A_ROUND // 2)
            try:
                self._partner.start()
            except RuntimeError as error:  # no more threads
                self._go_on_alone(using, str(error))
        elif self._partner.error:
            self._dismiss(using, self._partner.error)
        return self._partner if self._partner and self._partner.is_ready else None

    def _share(self, turns: Turns, partner: Partner) -> None:
        """Give the lanes their turns in two threads. What the second leaves is the first one's again."""
        half = turns.give_half()
        partner.give(half)
        try:
            while turns.go_on and partner.is_ready:
                turns.round(self._sender, LANES_OF_A_ROUND // 2)
        except BaseException:
            half.end()
            raise
        finally:
            partner.wait()
            turns.take_back(half)
        if partner.error:
            self._dismiss(turns.using, partner.error)
        elif half.done.is_outage:
            self._go_on_alone(turns.using, str(half.done.unanswered))

    def _dismiss(self, using: str, error: Exception) -> None:
        if not isinstance(error, BrokerUnavailable | DatabaseError):
            raise error
        self._go_on_alone(using, str(error).strip())

    def _go_on_alone(self, using: str, reason: str) -> None:
        self._let_partner_go()
        self._alone_until[using] = time.monotonic() + ALONE
        text = "The second thread that sends has failed: %s. The first goes on alone for %.0f s"
        logger.warning(text, reason, ALONE)

    def _let_partner_go(self) -> None:
        if self._partner:
            self._partner.end()
            self._partner = None

    def _look(self, using: str) -> list[LaneName]:
        """The lanes that have rows, in an order of our own, so that several processes begin at different ones."""
        with round_transaction(using):
            OutgoingEvent.objects.prepare_round(using, LOOK_WAIT)
            lanes = OutgoingEvent.objects.lanes_with_rows(using)
        random.shuffle(lanes)
        return lanes

    def _forget_what_others_have_sent(self, lanes: Sequence[LaneName], using: str) -> None:
        """A topic of which nothing waits any more, in no database, is not held back either."""
        self._waiting[using] = {lane.topic for lane in lanes}
        self._sender.hold_back_only(set[str]().union(*self._waiting.values()))

    def _guarded_pass(self, using: str, stop: Stop) -> Pass:
        """One pass; an outage of Kafka or the database is no failure of ours, and nothing is given up."""
        try:
            result = self.one_pass(using, stop, LOOK_AGAIN)
            if self._kafka.reason and not (result.sent or result.unanswered):
                self._sender.connect()  # others may have sent what waited: so Kafka itself is asked
        except BrokerUnavailable as error:
            self.close()
            self._kafka.began(str(error))
            return Pass(unanswered=str(error))
        except DatabaseError as error:
            with suppress(Exception):  # the server may have closed it already; the next pass connects
                connections[using].close()
            self._outboxes[using].began(str(error).strip())
            return Pass(unanswered=str(error))
        self._outboxes[using].ended()
        if result.unanswered and result.is_outage and not result.sent:
            self._kafka.began(result.unanswered)
        elif result.sent or not result.unanswered:
            self._kafka.ended()
        return result
