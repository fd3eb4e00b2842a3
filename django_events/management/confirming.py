"""The question before something that cannot be taken back."""

import sys

from django.core.management.base import CommandError, CommandParser

from django_events.management.console import Console


def add_to(parser: CommandParser) -> None:
    """Add ``--yes``."""
    parser.add_argument(
        "--yes", "--no-input", "--noinput", action="store_true", help="do not ask; needed where no terminal can answer"
    )


def confirm(question: str, *, yes: bool, console: Console) -> None:
    """Ask on the terminal, unless ``yes``. Raises CommandError if the answer is not yes, or nobody can give one."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError("Nothing is changed: there is no terminal to ask on. Say --yes.")
    console.err.write(f"{question} [y/N] ", style_func=str, ending="")
    console.err.flush()
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        console.note("")
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError("Nothing is changed.")
