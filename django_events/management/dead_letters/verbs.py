"""The verbs of ``manage.py events dead-letters``, and which options each of them has."""

from typing import TYPE_CHECKING

from django.core.management.base import CommandParser

from django_events.management import arguments
from django_events.management.dead_letters import acting, exporting, listing, rebuilding, selection, showing

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Verbs = _SubParsersAction[CommandParser]


def add_to(parsers: "Verbs") -> None:
    """Add ``dead-letters`` and its verbs. Each sets ``run``, which takes the options and a Console, and what of it
    needs tables."""
    text = "Events that a handler has failed with."
    verbs = parsers.add_parser("dead-letters", help=text, description=text).add_subparsers(
        metavar="VERB", required=True
    )
    _add_list(verbs)
    _add_show(verbs)
    _add_retry(verbs)
    _add_discard(verbs)
    _add_export(verbs)
    _add_rebuild(verbs)


def _add_list(verbs: "Verbs") -> None:
    parser = _add(verbs, "list", "Lists dead letters, those that failed last first.")
    selection.add_filters(parser, limit="all with --json, else 100")
    _add_json(parser, "one line of JSON for each, instead of a table")
    parser.set_defaults(run=listing.run)


def _add_show(verbs: "Verbs") -> None:
    parser = _add(verbs, "show", "Shows everything that is known of one dead letter.")
    parser.add_argument("id", type=arguments.row_id, metavar="ID", help="the letter's number, as list shows it")
    parser.add_argument(
        "--attempts",
        type=arguments.whole_number,
        default=showing.ATTEMPTS,
        metavar="N",
        help=f"how many of the last attempts to show (default: {showing.ATTEMPTS})",
    )
    _add_json(parser, "one line of JSON")
    parser.set_defaults(run=showing.run)


def _add_retry(verbs: "Verbs") -> None:
    parser = _add(verbs, "retry", "Has dead letters tried at once, by whichever consume runs their group.")
    _add_action(parser)
    parser.set_defaults(run=acting.retry)


def _add_discard(verbs: "Verbs") -> None:
    parser = _add(verbs, "discard", "Closes dead letters for good: their handlers never see these events again.")
    parser.add_argument("--reason", type=arguments.some_text, required=True, metavar="TEXT", help="why; it is kept")
    _add_action(parser)
    parser.set_defaults(run=acting.discard)


def _add_export(verbs: "Verbs") -> None:
    text = "Writes dead letters for another program: a line of JSON for each, oldest first, with all of its bytes."
    parser = _add(verbs, "export", text)
    selection.add_filters(parser, limit="all")
    parser.add_argument(
        "--unredacted", action="store_true", help="with the values, too, that the setting REDACT hides from people"
    )
    parser.set_defaults(run=exporting.run)


def _add_rebuild(verbs: "Verbs") -> None:
    text = "Reads the dead-letter topics from their beginning and brings in the letters that the database never had."
    parser = _add(verbs, "rebuild", text)
    parser.add_argument("--group", action="append", dest="groups", metavar="NAME", help="default: all groups")
    parser.add_argument(
        "--topic", action="append", dest="topics", metavar="NAME", help="of events of this topic (default: all)"
    )
    parser.add_argument(
        "--retry",
        action="store_true",
        help="have those of RETRY_LATER handlers tried by themselves; else they wait for you, because after a loss of "
        "the database letters that were closed come back, too",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say how many are missing")
    _add_json(parser, "the answer as one line of JSON")
    parser.set_defaults(run=rebuilding.run)


def _add(verbs: "Verbs", name: str, text: str) -> CommandParser:
    parser = verbs.add_parser(name, help=text, description=text)
    arguments.add_djangos_options(parser)
    parser.set_defaults(needs_tables=f"dead-letters {name}")
    return parser


def _add_action(parser: CommandParser) -> None:
    selection.add_filters(parser, limit="all")
    parser.add_argument("--all", action="store_true", help="all that are open; needed where no filter is given")
    parser.add_argument("--dry-run", action="store_true", help="only say how many dead letters match")
    _add_json(parser, "the answer as one line of JSON")


def _add_json(parser: CommandParser, text: str) -> None:
    parser.add_argument("--json", action="store_true", help=text)
