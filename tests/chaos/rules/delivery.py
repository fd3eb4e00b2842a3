"""What of the outbox must be in Kafka, and what must not."""

from collections.abc import Iterator

from tests.chaos.evidence import Evidence
from tests.chaos.facts import REFUSE, Aborted, Committed, Delivered, Intent
from tests.chaos.violation import Violation

LARGE = 2_000
"""Bytes; what Kafka refuses for a while has more."""

REFUSED_FOR = 5.0
"""Seconds until all nodes have heard that it is not refused any more."""

PROMPTLY = 5.0
"""Seconds within which a committed event is in Kafka while nothing is broken."""


def a_commit_is_kept(evidence: Evidence) -> Iterator[Violation]:
    """What a process saw committed is in the database, and what it saw rolled back is not."""
    committed = {fact.transaction for fact in evidence.all(Committed)}
    aborted = {fact.transaction for fact in evidence.all(Aborted)}
    for event, intent in evidence.intents.items():
        if intent.transaction in committed and event not in evidence.saved | evidence.dropped:
            yield Violation(
                what=f"the commit of event {event} returned, but the database does not have it", events=(event,)
            )
        if (intent.transaction in aborted or event in evidence.dropped) and event in evidence.saved:
            yield Violation(what=f"event {event} was rolled back, but the database has it", events=(event,))


def committed_events_are_delivered(evidence: Evidence) -> Iterator[Violation]:
    """Every committed event was delivered."""
    for event in sorted(evidence.saved - evidence.deliveries.keys()):
        yield Violation(what=f"event {event} was committed, but Kafka never got it", events=(event,))


def nothing_else_is_delivered(evidence: Evidence) -> Iterator[Violation]:
    """Nothing of an aborted transaction or savepoint was delivered."""
    for event in sorted(evidence.deliveries.keys() - evidence.saved):
        yield Violation(what=f"event {event} is in Kafka, but was never committed", events=(event,))


def records_are_as_written(evidence: Evidence) -> Iterator[Violation]:
    """Topic, key, body and headers are byte for byte those of the event that was written."""
    for record in evidence.records.values():
        intent = evidence.intents.get(record.event)
        if intent and (difference := _difference(intent, record)):
            yield Violation(what=f"event {record.event} arrived with another {difference}", events=(record.event,))


def what_is_gone_was_acknowledged(evidence: Evidence) -> Iterator[Violation]:
    """A row goes as sent only after Kafka has told the same process that it has the event."""
    for event, sent in evidence.sent_by.items():
        if any(evidence.acknowledged_at.get((event, each.process), float("inf")) > each.at for each in sent):
            yield Violation(
                what=f"the row of event {event} was deleted, though Kafka had not acknowledged it", events=(event,)
            )


def calm_events_arrive_promptly(evidence: Evidence) -> Iterator[Violation]:
    """While nothing is broken and no catch-up runs, a committed event whose topic Kafka has is acknowledged within 5
    seconds. Those do not count in which a server could not do the plainest for anybody, or a process stood still."""
    calm = evidence.phases("calm")
    for event in sorted(evidence.saved & evidence.intents.keys()):
        intent = evidence.intents[event]
        committed = evidence.committed_at.get(intent.transaction)
        end = next((end for begin, end in calm if committed and begin <= committed < end), None)
        if committed is None or end is None or event not in evidence.deliveries:
            continue
        if committed < evidence.absent_until.get(intent.topic, 0.0):
            continue
        arrived = evidence.sent_by[event][0].at if event in evidence.sent_by else evidence.deliveries[event][0].at
        took = arrived - committed - evidence.faltered(committed, arrived)
        if took > PROMPTLY and committed + PROMPTLY <= end:
            yield Violation(
                what=f"event {event} arrived {took:.1f} s after its commit, though nothing was broken", events=(event,)
            )


def what_is_held_back_is_not_set_aside(evidence: Evidence) -> Iterator[Violation]:
    """Events of a topic that Kafka lacks wait for it, as a whole and in order; Kafka has refused none of them."""
    for event in sorted(evidence.set_aside & evidence.intents.keys()):
        if (topic := evidence.intents[event].topic) in evidence.absent_until:
            yield Violation(what=f"event {event} was set aside, though Kafka only lacked {topic}", events=(event,))


def only_what_kafka_refuses_is_set_aside(evidence: Evidence) -> Iterator[Violation]:
    """An event that was set aside is large, and somebody tried to send it while Kafka refused such of its topic."""
    refusals = [fault for fault in evidence.faults if fault.kind == REFUSE]
    for event in sorted(evidence.set_aside & evidence.intents.keys()):
        intent = evidence.intents[event]
        tries = [each.at for each in evidence.sendings.get(event, [])]
        was_refused = any(each.at <= at <= each.until + REFUSED_FOR for each in refusals for at in tries)
        if intent.topic not in evidence.absent_until and not (was_refused and len(intent.body) >= LARGE):
            what = f"event {event} of {len(intent.body)} bytes was set aside, though Kafka did not refuse it"
            yield Violation(what=what, events=(event,))


def _difference(intent: Intent, record: Delivered) -> str | None:
    for name, wanted, found in (
        ("topic", intent.topic, record.place[0]),
        ("key", intent.key, record.key),
        ("body", intent.body, record.body),
        ("headers", intent.headers, record.headers),
    ):
        if wanted != found:
            return f"{name}: {found!r:.200} instead of {wanted!r:.200}"
    return None
