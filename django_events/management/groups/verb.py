"""``manage.py events groups``: its options, and which of its two works they ask for."""

from argparse import _SubParsersAction
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_events.management import arguments, confirming, watching
from django_events.management.console import Console
from django_events.management.groups import resetting, showing


def add_to(verbs: "_SubParsersAction[CommandParser]") -> None:
    """Add ``groups``."""
    text = "Shows who is in the consumer groups and how far they are; --reset has one read on somewhere else."
    parser = verbs.add_parser("groups", help=text, description=text)
    arguments.add_djangos_options(parser)
    parser.add_argument(
        "names", nargs="*", metavar="GROUP", help="a group, also one that is not declared here (default: all declared)"
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON for each group")
    watching.add_to(parser)
    arguments.add_timeout_of_kafka(parser)
    _add_reset(parser)
    parser.set_defaults(run=run)


def _add_reset(parser: CommandParser) -> None:
    reset = parser.add_argument_group("having a group read on somewhere else, while none of its processes runs")
    reset.add_argument("--reset", metavar="GROUP", help="the group, without prefix")
    reset.add_argument(
        "--to",
        type=arguments.position,
        metavar="PLACE",
        help="earliest, latest, an OFFSET, or a TIME such as 2026-01-31T09:00: the first event that is not older",
    )
    reset.add_argument("--topic", action="append", dest="topics", metavar="NAME", help="default: all of the group's")
    reset.add_argument("--partition", type=arguments.partition, metavar="N", help="default: all")
    reset.add_argument("--dry-run", action="store_true", help="only show what would change")
    confirming.add_to(parser)


def run(options: dict[str, Any], console: Console) -> None:
    """Show groups, or reset one. Raises CommandError for options that do not go together."""
    if options["reset"] is None:
        given = [name for name in ("to", "topics", "partition", "dry_run") if options[name] not in (None, False)]
        if given:
            raise CommandError(f"--{given[0].replace('_', '-').removesuffix('s')} belongs to --reset GROUP.")
        showing.run(options, console)
        return
    if options["to"] is None:
        raise CommandError("--reset needs --to earliest, latest, a TIME or an OFFSET.")
    if options["watch"] or options["names"]:
        raise CommandError("--reset GROUP changes one group; leave out --watch and the names of other groups.")
    resetting.run(options, console)
