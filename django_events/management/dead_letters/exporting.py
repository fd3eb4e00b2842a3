"""``export``: dead letters with all of their bytes, for another program."""

from typing import Any

from django_events.management.console import Console
from django_events.management.dead_letters import facts, selection

CHUNK = 50
"""Letters in memory at a time: each may have a megabyte."""


def run(options: dict[str, Any], console: Console) -> None:
    """Write a line of JSON for each letter that matches, oldest first."""
    for chunk in selection.oldest_first(selection.letters(options), CHUNK, options["limit"]):
        for letter in chunk:
            hidden = facts.NOTHING if options["unredacted"] else facts.hidden_of(letter)
            console.say_json(facts.everything(letter, hidden))
