"""``manage.py events prune``: forgets which events were processed long ago."""

from argparse import _SubParsersAction
from contextlib import suppress
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from django_events import handlers
from django_events.consuming import pruning
from django_events.exceptions import EventsError
from django_events.kafka import retention
from django_events.management import arguments
from django_events.management.console import Console, Progress
from django_events.management.signals import stop_on_signals
from django_events.stopping import Stop


def add_to(verbs: "_SubParsersAction[CommandParser]") -> None:
    """Add ``prune``."""
    text = (
        "Forgets which events exactly-once handlers have processed, once that is longer ago than the setting "
        "PROCESSED_RETENTION. A running consume does so by itself."
    )
    parser = verbs.add_parser("prune", help="Forgets which events were processed long ago.", description=text)
    arguments.add_djangos_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="only count")
    parser.add_argument("--json", action="store_true", help="the answer as one line of JSON")
    parser.set_defaults(run=run, needs_tables="prune")


def run(options: dict[str, Any], console: Console) -> None:
    """Prune, in small transactions, and say how much. Raises CommandError if a signal ended it early."""
    before = pruning.too_old()
    stop, pruned = Stop(), 0
    with stop_on_signals(stop):
        if before and options["dry_run"]:
            pruned = pruning.count(before)
        elif before:
            progress = Progress(console, pruning.count(before))
            for count in pruning.prune(before):
                pruned += count
                progress.reached(pruned)
                if stop.wait(pruning.PAUSE):
                    break
    problems = _problems()
    if options["json"]:
        facts = {"pruned": pruned, "before": before and before.isoformat(), "dry_run": options["dry_run"]}
        console.say_json({**facts, "warnings": problems})
    else:
        console.say(_answer(pruned, before, dry_run=options["dry_run"]))
        for problem in problems:
            console.note(problem)
    if stop.is_set():
        raise CommandError("Stopped. Run it again for the rest.")


def _problems() -> list[str]:
    """What Kafka keeps for too long, as far as it can be asked: pruning does not need it."""
    with suppress(EventsError):
        return retention.problems(pruning.exactly_once_topics(handlers.declared()), pruning.WAIT)
    return []


def _answer(count: int, before: datetime | None, *, dry_run: bool) -> str:
    if before is None:
        return "The setting PROCESSED_RETENTION is None: processed events are remembered for ever."
    what = "would be forgotten, but for those with an open dead letter" if dry_run else "forgotten"
    events = f"{count:,} processed event{'s' * (count != 1)}"
    return f"{events} {what}, from before {timezone.localtime(before):%Y-%m-%d %H:%M:%S} (PROCESSED_RETENTION)"
