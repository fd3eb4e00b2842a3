"""Bugs that are planted into the product's code at run time, to see that the checker finds them.

Only the settings of the chaotic site ask for one; nothing in ``django_events`` knows of this.
"""

import queue
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.facts import ABSENT
from tests.chaos.scenario import Scenario

CALM = Scenario(faults=0.0, kinds=(), settles_within=15.0)
"""For bugs that show without any fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """One bug."""

    name: str
    what: str
    plant: Callable[[], None]
    scenario: Scenario
    """The run in which it shows."""
    seeds: int
    """Within how many seeds the checker must have caught it."""
    by: frozenset[str]
    """The rules that it breaks. Others may be broken besides, as by a machine that is busy; that does not count."""


BUGS: dict[str, Planted] = {}

ORDER = ("locked_aggregates_keep_their_order", "later_transactions_do_not_overtake")


def plant(name: str) -> None:
    """Change the product's code in this process."""
    BUGS[name].plant()


def _bug(scenario: Scenario, *rules: str, seeds: int = 3) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Declare a bug that breaks these rules; its docstring says what it is."""

    def declare(function: Callable[[], None]) -> Callable[[], None]:
        name = function.__name__.strip("_").replace("_", "-")
        what = (function.__doc__ or "").strip()
        BUGS[name] = Planted(name=name, what=what, plant=function, scenario=scenario, seeds=seeds, by=frozenset(rules))
        return function

    return declare


# ── sending ──────────────────────────────────────────────────────────────────────────────────────────────────────


@_bug(Scenario(kinds=("kill", "quorum", "broker"), settles_within=20.0), "committed_events_are_delivered", *ORDER)
def _deleted_before_acknowledged() -> None:
    """Rows are deleted as soon as the producer has been given them."""
    from django_events.kafka.producer import Deliveries, Producer

    def send(self: Producer, records: Iterable[tuple[int, Any]], timeout: float) -> Deliveries:
        records = list(records)
        self._reports = []
        self._produce(records, 0.0)
        return Deliveries(acknowledged=[token for token, _ in records])

    Producer.send = send  # type: ignore[method-assign]


@_bug(CALM, "what_is_gone_is_not_sent_again", "duplicate_records_are_explained")
def _no_lanes() -> None:
    """No lane is ever locked."""
    from django_events.models.outbox import LaneManager, OutgoingEvent

    def lock(self: LaneManager, lanes: Collection[Any], at_most: int, using: str, *, wait: float) -> list[Any]:
        OutgoingEvent.objects.prepare_round(using, wait)
        return list(lanes)[:at_most]

    LaneManager.lock = lock  # type: ignore[method-assign]


@_bug(CALM, *ORDER)
def _rows_instead_of_lanes() -> None:
    """Rows are locked and skipped one by one, not lanes as a whole."""
    from django_events.models.outbox import OutgoingEvent, OutgoingEventManager

    _no_lanes()
    read = OutgoingEventManager.read

    def read_unlocked(self: OutgoingEventManager, lanes: Sequence[Any], cut: Any, using: str) -> list[Any]:
        ids = [row.id for row in read(self, lanes, cut, using)]
        free = OutgoingEvent.objects.using(using).filter(pk__in=ids).select_for_update(skip_locked=True)
        locked = set(free.values_list("pk", flat=True))
        return [row for row in read(self, lanes, cut, using) if row.id in locked]

    OutgoingEventManager.read = read_unlocked  # type: ignore[method-assign]


@_bug(Scenario(kinds=("refuse", "quorum"), rate=40.0, settles_within=40.0), *ORDER)
def _producing_on_after_a_failure() -> None:
    """After Kafka has refused a batch the producer goes on with the next."""
    from django_events.kafka import config

    options = config.producer_options

    def not_gapless(*, gapless: bool = True, resolve: config.Resolve | None = None) -> dict[str, Any]:
        return options(gapless=False, resolve=resolve)

    config.producer_options = not_gapless


@_bug(CALM, "calm_events_arrive_promptly")
def _wake_up_lost() -> None:
    """A lane leaves the set of waiting lanes when its rows are sent, and what was committed meanwhile with it."""
    from django_events.producing.courier import Courier
    from django_events.producing.lanes import WaitingLanes
    from django_events.producing.sender import Sender

    current = threading.local()
    play, send = Sender.round, Courier.send

    def remembering(self: Sender, waiting: WaitingLanes, using: str, lanes_at_most: int | None = None) -> Any:
        current.waiting = waiting
        return play(self, waiting, using, lanes_at_most)

    def send_and_remove(self: Courier, rows: Sequence[Any]) -> Any:
        sending = send(self, rows)
        current.waiting.remove({row.lane for row in rows})
        return sending

    Sender.round = remembering  # type: ignore[method-assign]
    Courier.send = send_and_remove  # type: ignore[method-assign]


@_bug(CALM, "calm_events_arrive_promptly")
def _one_hook_a_transaction() -> None:
    """Only the first event of a transaction registers a hook, which its savepoint may take along."""
    from django.db import connections

    from django_events.producing import produce

    hook = produce._wake_after_commit
    seen = threading.local()

    def first_only(rows: Sequence[Any], database: str) -> None:
        with connections[database].cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id()::text")
            (transaction,) = cursor.fetchone()
        if getattr(seen, "transaction", None) != transaction:
            seen.transaction = transaction
            hook(rows, database)

    produce._wake_after_commit = first_only


@_bug(CALM, "committed_events_are_delivered", *ORDER)
def _id_floor() -> None:
    """A lane is read from above the highest id that was ever read from it."""
    from django_events.models.outbox import OutgoingEventManager

    read = OutgoingEventManager.read
    floors: dict[Any, int] = {}

    def read_above(self: OutgoingEventManager, lanes: Sequence[Any], cut: Any, using: str) -> list[Any]:
        rows = [row for row in read(self, lanes, cut, using) if row.id > floors.get(row.lane, 0)]
        floors.update({row.lane: row.id for row in rows})
        return rows

    OutgoingEventManager.read = read_above  # type: ignore[method-assign]


@_bug(Scenario(kinds=(ABSENT,), faults=3.0), "what_is_held_back_is_not_set_aside")
def _lacked_topic_refused() -> None:
    """Events of a topic that Kafka lacks are set aside, as if it had refused them."""
    from django_events.producing.courier import Courier, Sending

    problems, send = Courier.cannot_send_to, Courier.send

    def only_of_what_is_there(self: Courier, wanted: Collection[str]) -> dict[str, str]:
        found = problems(self, wanted)
        return {topic: problem for topic, problem in found.items() if self.connect().knows(topic)}

    def send_or_refuse(self: Courier, rows: Sequence[Any]) -> Sending:
        lacked = {row.id: "Kafka does not have its topic" for row in rows if not self.connect().knows(row.topic)}
        sending = send(self, [row for row in rows if row.id not in lacked])
        sending.refused |= lacked
        return sending

    Courier.cannot_send_to = only_of_what_is_there  # type: ignore[method-assign]
    Courier.send = send_or_refuse  # type: ignore[method-assign]


# ── handling ─────────────────────────────────────────────────────────────────────────────────────────────────────


@_bug(
    Scenario(kinds=("quorum", "broker", "kill"), settles_within=40.0),
    "offsets_pass_only_finished_records",
    "a_keys_events_are_handled_in_turn",
)
def _offset_before_dead_letter() -> None:
    """An offset may pass a record as soon as the producer has been given its dead letter."""
    from django_events.consuming.letter_writer import LetterWriter
    from django_events.consuming.outcome import LetterWritten
    from django_events.consuming.workers import Result

    init, submit = LetterWriter.__init__, LetterWriter.submit
    told: dict[LetterWriter, Any] = {}

    def init_unheard(self: LetterWriter, group: str, results: Any) -> None:
        init(self, group, queue.SimpleQueue())  # what becomes of a letter interests nobody
        told[self] = results

    def submit_and_go_on(self: LetterWriter, work: Any) -> None:
        submit(self, work)
        told[self].put(Result([work], [LetterWritten()]))

    LetterWriter.__init__ = init_unheard  # type: ignore[method-assign]
    LetterWriter.submit = submit_and_go_on  # type: ignore[method-assign]


@_bug(CALM, "every_handler_handles_every_event", "offsets_pass_only_finished_records")
def _mark_outside_of_the_transaction() -> None:
    """The mark that an event is processed is committed before its handler is called."""
    from django.db import transaction

    from django_events.consuming import attempt
    from django_events.consuming.attempt import Attempt

    def in_two_transactions(self: Attempt) -> Any:
        using = attempt.database_of(self.handler)
        with transaction.atomic(using=using):
            fresh = attempt._mark(self.events, using, again=self.again, patience=self.patience)
        done = 0
        if fresh:
            with transaction.atomic(using=using):
                done = self._in_transaction(fresh, using)
        return attempt._as_outcomes(self.events, fresh, done)

    Attempt._exactly_once = in_two_transactions  # type: ignore[method-assign]


@_bug(CALM, "a_keys_events_are_handled_in_turn")
def _keys_without_turns() -> None:
    """Each record has a queue of its own, whatever its key."""
    from django_events.consuming import queues, trying

    def name_of_its_own(handler: Any, record: Any) -> Any:
        return handler.name, record.partition, record.offset

    queues.queue_name = trying.queue_name = name_of_its_own  # type: ignore[attr-defined]


@_bug(CALM, "offsets_pass_only_finished_records")
def _offsets_by_partition_number() -> None:
    """Progress is kept by the number of a partition, whatever its topic."""
    from django_events.kafka.consumer import Consumer

    commit = Consumer.commit

    def by_number(self: Consumer, offsets: Mapping[Any, int], *, wait: bool) -> None:
        numbers = {partition.number: offset for partition, offset in offsets.items()}
        commit(self, {partition: numbers[partition.number] for partition in offsets}, wait=wait)

    Consumer.commit = by_number  # type: ignore[method-assign]
