"""``rebuild``: brings in from Kafka what the database does not have."""

from typing import Any

from django_events import registry
from django_events.consuming.letter_rebuild import Rebuilt, rebuild
from django_events.management.console import Console, Progress


def run(options: dict[str, Any], console: Console) -> None:
    """Read the dead-letter topics of the groups from their beginning, with progress, and say what was missing."""
    groups = [group for group in registry.groups(options["groups"] or []) if group.dead_letter_sources]
    found, progress = Rebuilt(), None
    for found in rebuild(groups, options["topics"] or (), retry=options["retry"], dry_run=options["dry_run"]):
        progress = progress or Progress(console, found.total)
        progress.reached(found.read)
    _tell(found, options, console)


def _tell(found: Rebuilt, options: dict[str, Any], console: Console) -> None:
    if options["json"]:
        console.say_json({"read": found.read, "missing": found.missing, "dry_run": options["dry_run"]})
        return
    what = "would be brought in" if options["dry_run"] else "brought in"
    console.say(f"{found.read:,} letters read from Kafka, {found.missing:,} were missing and {what}")
    if found.missing and not options["dry_run"] and not options["retry"]:
        console.say("They wait until you retry or discard them: closed letters may be among them.")
