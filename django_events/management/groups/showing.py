"""Who is in the groups and how far they are, once or again and again."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any

from django_events import handlers
from django_events.conf import settings
from django_events.kafka import config, consumer_groups
from django_events.kafka.consumer_groups import GroupState, Member, PartitionState
from django_events.management import watching
from django_events.management.console import Console
from django_events.management.printable import printable
from django_events.management.table import Column, Table
from django_events.receiving import moment

COLUMNS = (
    Column(title="  TOPIC", least=20),
    Column(title="PARTITION", right=True),
    Column(title="COMMITTED", right=True),
    Column(title="END", right=True),
    Column(title="LAG", right=True),
    Column(title="OLDEST", right=True),
)

MEANINGS = {
    "empty": "none of its processes runs",
    "absent": "Kafka does not know it: it has never run, or Kafka has forgotten it while it was idle",
    "rebalancing": "its members are being given their partitions",
}
"""By state, what people may want to know."""


def run(options: dict[str, Any], console: Console) -> None:
    """Say it once, or until a signal. Raises BrokerUnavailable or KafkaRefused; while watching, an outage is said."""
    watching.show(lambda: _show(options, console), options["watch"], console)


def wanted(names: Collection[str]) -> dict[str, tuple[str, ...] | None]:
    """The groups of these names, or all that are declared, each with its topics; None: nobody here declares it."""
    declared = {group.name: group.sources for group in handlers.declared() if group.handlers}
    return {name: declared.get(name) for name in names} if names else dict(declared)


def _show(options: dict[str, Any], console: Console) -> None:
    states = consumer_groups.survey(wanted(options["names"]), options["timeout"])
    now = datetime.now(UTC)
    if options["json"]:
        for state in states:
            console.say_json(_facts(state, now))
        return
    watching.begin_anew(options["watch"], console)
    prefix = f", prefix {settings.PREFIX!r}" if settings.PREFIX else ""
    console.note(f"Kafka at {config.brokers()}{prefix}" + f", {datetime.now():%H:%M:%S}" * bool(options["watch"]))
    for number, state in enumerate(states):
        for line in [*[""] * bool(number), *_lines(state, now, console.width)]:
            console.say(line)
    if not states:
        console.say("No consumer group is declared.")


def _lines(state: GroupState, now: datetime, width: int) -> Iterator[str]:
    meaning = f" ({MEANINGS[state.state]})" if state.state in MEANINGS else ""
    yield f"{printable(state.name)}  {state.state}{meaning}, lag {state.lag:,}"
    for member in state.members:
        yield f"  {_named(member)}"
    for topic in state.missing_topics:
        yield f"  topic {topic} is missing in Kafka: manage.py events topics --create"
    rows = [_cells(each, now) for each in state.partitions]
    yield from Table(COLUMNS, width).lines(rows) if rows else ["  It has no partition."]


def _named(member: Member) -> str:
    has = ", ".join(map(str, member.partitions)) or "nothing"
    return printable(f"{member.client_id} on {member.host} has {has}")


def _cells(state: PartitionState, now: datetime) -> list[str]:
    age = _age(state, now)
    return [
        f"  {state.partition.topic}",
        str(state.partition.number),
        "" if state.committed is None else f"{state.committed:,}",
        f"{state.end:,}",
        f"{state.lag:,}",
        "" if age is None else f"{age:,.0f} s",
    ]


def _age(state: PartitionState, now: datetime) -> float | None:
    """Seconds since the oldest record that is not handled was written."""
    written = moment(state.oldest)
    return max((now - written).total_seconds(), 0.0) if written else None


def _facts(state: GroupState, now: datetime) -> dict[str, Any]:
    """For a program."""
    return {
        "group": state.name,
        "name_in_kafka": state.wire_name,
        "state": state.state,
        "lag": state.lag,
        "members": [
            {
                "client_id": member.client_id,
                "host": member.host,
                "member_id": member.member_id,
                "partitions": [{"topic": each.topic, "partition": each.number} for each in member.partitions],
            }
            for member in state.members
        ],
        "missing_topics": list(state.missing_topics),
        "partitions": [_partition_facts(each, now) for each in state.partitions],
    }


def _partition_facts(state: PartitionState, now: datetime) -> dict[str, Any]:
    written = moment(state.oldest)
    return {
        "topic": state.partition.topic,
        "partition": state.partition.number,
        "committed": state.committed,
        "end": state.end,
        "lag": state.lag,
        "oldest": written and written.isoformat(),
        "oldest_seconds": _age(state, now),
    }
