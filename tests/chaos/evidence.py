"""A history, arranged so that rules find what they ask for. Knows no rule."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TypeVar

from tests.chaos.facts import (
    ABSENT,
    DATABASE,
    FALTERING,
    KAFKA,
    NOTICED,
    STANDSTILL,
    Acknowledged,
    AnyFact,
    Buried,
    Committed,
    Declared,
    Delivered,
    Dropped,
    Effect,
    Fault,
    Handled,
    Handling,
    Intent,
    Kept,
    Phase,
    Place,
    Raised,
    Saved,
    Sending,
    Sent,
    SetAside,
)

AFTERMATH = 15.0
"""Seconds after a fault in which its consequences still show: time-outs run out, leaders and members change. After the
kill of a member these are its session (6 s), the new process's start, and two rebalances, before each of which what
runs may finish."""

LASTING = {FALTERING: 6.0, STANDSTILL: 2.0}
"""Seconds that it lasts at least, by kind, before anything is left of it afterwards: then sessions end. Those that a
server does not hear have 6 seconds; a process that stands still may have 3, and its last heartbeat was a moment before.
Of faults of all other kinds something may always be left."""

Name = TypeVar("Name")
Kind = TypeVar("Kind")


LONGEST_STOP = 30.0
"""Seconds; so long the other thread of a process may go on that is to stop, or is about to die."""


class Evidence:
    """The facts of a history by what they are about. Not changed once it is built."""

    def __init__(self, facts: Sequence[AnyFact]) -> None:
        self.facts = facts
        self.handlers = {fact.handler: fact for fact in self.all(Declared)}
        self.intents = {fact.event: fact for fact in self.all(Intent)}
        self.dropped = {fact.event for fact in self.all(Dropped)}
        self.saved = {fact.event for fact in self.all(Saved)}
        self.set_aside = {fact.event for fact in self.all(SetAside)}
        self.committed_at = {fact.transaction: fact.at for fact in self.all(Committed)}
        self.faults = list(self.all(Fault))
        self.absent_until = {topic: each.until for each in self.faults if each.kind == ABSENT for topic in each.hits}
        """By topic that Kafka lacked: since when it has been there."""
        self.falterings = [each for each in self.faults if each.kind == FALTERING]
        """When a server could not do the plainest, whoever asked."""
        self.noticed = [each for each in self.faults if each.kind in NOTICED]
        """When that was so, or a process stood still."""
        self.deliveries = _grouped((fact.event, fact) for fact in self.all(Delivered))
        self.records = {fact.place: fact for fact in self.all(Delivered)}
        self.sendings = _grouped((event, fact) for fact in self.all(Sending) for event in fact.events)
        self.last_sendings = {(fact.process, fact.thread): fact for fact in self.all(Sending)}
        """The last of each thread."""
        self.sent_last_at = {fact.process: fact.at for fact in self.all(Sending)}
        """When each process was last about to send anything."""
        self.acknowledged_at: dict[tuple[str, int], float] = {}
        """When each process was first told that Kafka has an event."""
        for told in self.all(Acknowledged):
            for event in told.events:
                self.acknowledged_at.setdefault((event, told.process), told.at)
        self.sent = {(fact.event, fact.process) for fact in self.all(Sent)}
        self.sent_by = _grouped((fact.event, fact) for fact in self.all(Sent))
        self.effects = _grouped(((fact.handler, fact.event), fact) for fact in self.all(Effect))
        self.handled = {(fact.handler, fact.place): fact for fact in reversed([*self.all(Handled)])}
        """The first time that each handler noted that it was done with each record."""
        self.handled_with = _grouped(((fact.handler, fact.event), fact) for fact in self.all(Handled))
        self.calls = _grouped(((fact.handler, fact.place), fact) for fact in self.all(Handling))
        self.calls_with = _grouped(((fact.handler, fact.event), fact) for fact in self.all(Handling))
        self.actors_of: dict[str, set[str]] = defaultdict(set)
        for fact in self.all(Handling):
            self.actors_of[fact.handler.partition("/")[0]].add(fact.actor)
        self.letters = _grouped(((fact.handler, fact.place), fact) for fact in self.all(Buried))
        self.kept = _grouped(((fact.handler, fact.event), fact) for fact in self.all(Kept))
        self.failed = _grouped((fact.handler, fact.event) for fact in self.all(Raised))
        """The events with which each handler has failed."""
        self.raised_at = _grouped(((fact.handler, str(fact.process)), fact) for fact in self.all(Raised))

    def was_left_unfinished(self, event: str) -> bool:
        """Whether a process has ended in a thread's round with this event: its stop does not wait for ever."""
        return any(
            self.last_sendings[sending.process, sending.thread] is sending
            and self.sent_last_at[sending.process] <= sending.at + LONGEST_STOP
            and (event, sending.process) not in self.sent
            for sending in self.sendings.get(event, [])
        )

    def all(self, kind: type[Kind]) -> Iterator[Kind]:
        """The facts of one kind, in the order of their time."""
        return (fact for fact in self.facts if isinstance(fact, kind))

    def first_deliveries(self) -> dict[tuple[str, str], list[Delivered]]:
        """The first record of each event that has a key, by topic and key, in the order in which Kafka has them.

        Without those that were set aside: for them no order is promised.
        """
        found: dict[tuple[str, str], dict[str, Delivered]] = defaultdict(dict)
        for place in sorted(self.records):
            record = self.records[place]
            if record.key is not None and record.event not in self.set_aside:
                found[place[0], record.key].setdefault(record.event, record)
        return {name: list(records.values()) for name, records in found.items()}

    def wanted_by(self, group: str, topic: str) -> list[Declared]:
        """The handlers of a group that want the events of a topic."""
        return [
            each for each in self.handlers.values() if each.handler.startswith(f"{group}/") and topic in each.topics
        ]

    def done_at(self) -> dict[tuple[str, Place], float]:
        """When each handler was done with each record for good, at the latest: handled, or its letter in Kafka.

        An exactly-once handler that has taken effect is done with all records of an event at once.
        """
        done: dict[tuple[str, Place], float] = {}
        by_event: dict[tuple[str, str], float] = {}
        first: dict[tuple[str, str], Handled] = {}
        for fact in self.all(Handled):
            done.setdefault((fact.handler, fact.place), fact.at)
            by_event.setdefault((fact.handler, fact.event), fact.at)
            first.setdefault((fact.handler, fact.event), fact)
        for name, effects in self.effects.items():
            noted = first.get(name)
            if noted is None or self.was_hit(noted.actor, effects[0].at, noted.at):
                by_event[name] = effects[0].at  # its process was killed or frozen before it could note more
        for name_and_place, letters in self.letters.items():
            done[name_and_place] = min(letters[0].at, done.get(name_and_place, letters[0].at))
        for handler in [each for each in self.handlers.values() if each.exactly_once]:
            for place, record in self.records.items():
                if (at := by_event.get((handler.handler, record.event))) is not None:
                    done[handler.handler, place] = min(at, done.get((handler.handler, place), at))
        return done

    def phases(self, name: str) -> list[tuple[float, float]]:
        """Begin and end of each phase of this name."""
        phases = list(self.all(Phase))
        ends = [phase.at for phase in phases[1:]] + [float("inf")]
        return [(phase.at, end) for phase, end in zip(phases, ends, strict=True) if phase.name == name]

    def faltered(self, begin: float, end: float) -> float:
        """For how many seconds of this time a server could not do the plainest, or a process stood still, which may
        have had the lane for which others wait."""
        seconds, counted = 0.0, begin
        for each in self.noticed:
            since, until = max(each.at, counted), min(each.until, end)
            if until > since:
                seconds += until - since
                counted = until
        return seconds

    def was_hit(self, actor: str, begin: float, end: float) -> bool:
        """Whether a fault hit this actor in this time."""
        return any(fault.at <= end and begin <= fault.until and actor in fault.hits for fault in self.faults)

    def has_raised(self, before: Handling, again: Handling) -> bool:
        """Whether the handler has failed with this event between two calls, the first of which was in this process."""
        failures = self.raised_at.get((before.handler, str(before.process)), [])
        return any(each.place == before.place and before.at <= each.at <= again.at for each in failures)

    def was_rolled_back(self, before: Handling, again: Handling) -> bool:
        """Whether the handler has failed with another event in between: it had shared its transaction."""
        is_shared = before.process == again.process and self.handlers[before.handler].exactly_once
        failures = self.raised_at.get((before.handler, str(before.process)), [])
        return is_shared and any(before.at <= failure.at <= again.at for failure in failures)

    def is_explained(self, actors: Iterable[str], begin: float, end: float) -> bool:
        """Whether a fault hit one of the actors, or what all of them use, so that it shows in this time."""
        return self.was_broken({*actors, KAFKA, DATABASE}, begin, end)

    def was_broken(self, things: Collection[str], begin: float, end: float) -> bool:
        """Whether a fault hit one of these actors or servers so that it shows in this time."""
        return any(
            fault.at <= end and begin <= _shows_until(fault) and not {*things}.isdisjoint(fault.hits)
            for fault in self.faults
        )


def _shows_until(fault: Fault) -> float:
    is_short = fault.until - fault.at < LASTING.get(fault.kind, 0.0)
    return fault.until if is_short else fault.until + AFTERMATH


def _grouped(pairs: Iterable[tuple[Name, Kind]]) -> dict[Name, list[Kind]]:
    found: dict[Name, list[Kind]] = defaultdict(list)
    for name, fact in pairs:
        found[name].append(fact)
    return dict(found)
