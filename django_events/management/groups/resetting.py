"""``--reset``: has a group read on somewhere else, after showing what that means and asking."""

from typing import Any

from django.core.management.base import CommandError

from django_events import handlers
from django_events.kafka import group_offsets
from django_events.kafka.group_offsets import Move
from django_events.management import confirming
from django_events.management.console import Console
from django_events.management.table import Column, Table

COLUMNS = (
    Column(title="TOPIC", least=20),
    Column(title="PARTITION", right=True),
    Column(title="BEFORE", right=True),
    Column(title="AFTER", right=True),
    Column(title="MEANS", least=10),
)


def run(options: dict[str, Any], console: Console) -> None:
    """Show before and after of each partition, ask, do it. Raises CommandError, BrokerUnavailable, KafkaRefused."""
    name, timeout = options["reset"], options["timeout"]
    moves = group_offsets.plan(name, _topics(name, options["topics"]), options["partition"], options["to"], timeout)
    changed = [move for move in moves if move.before != move.after]
    if not options["json"]:
        for line in Table(COLUMNS, console.width).lines([_cells(move) for move in moves]):
            console.say(line)
    if changed and not options["dry_run"]:
        confirming.confirm(f"Reset the group {name} so?", yes=options["yes"], console=console)
        group_offsets.carry_out(name, changed, timeout)
    _tell(options, moves, changed, console)


def _topics(name: str, wanted: list[str] | None) -> list[str]:
    """The topics to reset. Raises CommandError if neither the options nor a declaration names any, or they differ."""
    declared = {group.name: group.sources for group in handlers.declared()}.get(name)
    if not (wanted or declared):
        raise CommandError(
            f"No handlers of a group {name!r} are declared here, so its topics are not known. Check the name, or name "
            "them with --topic."
        )
    strange = sorted(set(wanted or ()) - set(declared or wanted or ()))
    if strange:
        raise CommandError(
            f"The group {name!r} does not read {', '.join(strange)}. It reads {', '.join(declared or ())}."
        )
    return list(dict.fromkeys(wanted or declared or ()))


def _cells(move: Move) -> list[str]:
    before = "" if move.before is None else f"{move.before:,}"
    return [move.partition.topic, str(move.partition.number), before, f"{move.after:,}", _meaning(move)]


def _meaning(move: Move) -> str:
    if move.before is None:
        return "begins here"
    if move.after == move.before:
        return "stays"
    count = abs(move.after - move.before)
    return f"{count:,} again" if move.after < move.before else f"{count:,} passed over"


def _tell(options: dict[str, Any], moves: list[Move], changed: list[Move], console: Console) -> None:
    if options["json"]:
        facts = [
            {"topic": each.partition.topic, "partition": each.partition.number, "before": each.before,
             "after": each.after} for each in moves
        ]  # fmt: skip
        console.say_json({"group": options["reset"], "dry_run": options["dry_run"], "partitions": facts})
    elif not changed:
        console.say("Nothing changes.")
    elif options["dry_run"]:
        console.say("Nothing is changed: this is a dry run.")
    else:
        console.say(f"The group {options['reset']} reads on there.")
        if any(each.before is not None and each.after < each.before for each in changed):
            console.say(
                "Exactly-once handlers pass over what they have processed, within PROCESSED_RETENTION; idempotent ones "
                "are called again."
            )
