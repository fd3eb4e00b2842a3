"""``retry`` and ``discard``: for all letters that match, in chunks, so that nobody waits for long."""

import os
import pwd
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.core.management.base import CommandError

from django_events.consuming import repair
from django_events.management.console import Console, Progress
from django_events.management.dead_letters import selection
from django_events.models import Answer
from django_events.models.dead_letters import CHUNK

Action = Callable[[Sequence[int]], Answer]


def retry(options: dict[str, Any], console: Console) -> None:
    """Make what matches due now."""
    _act(repair.retry, "{} due now", options, console)


def discard(options: dict[str, Any], console: Console) -> None:
    """Close what matches, in the name of the operating system's user."""
    user = operating_system_user()
    _act(lambda ids: repair.discard(ids, options["reason"], user), "{} discarded", options, console)


def operating_system_user() -> str:
    """The name of the user that this process runs as; the number of one without name, as in containers."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"


def _act(action: Action, done: str, options: dict[str, Any], console: Console) -> None:
    if not selection.is_narrowed(options) and not options["all"]:
        raise CommandError("This would be for all open dead letters. Give a filter (see --help), or say so with --all.")
    rows, limit = selection.letters(options), options["limit"]
    matching = selection.count(rows, limit)
    if not options["json"]:
        console.say(f"{_letters(matching)} match{'es' * (matching == 1)}")
    answer = Answer()
    if not options["dry_run"]:
        answer = _act_in_chunks(action, rows, limit, Progress(console, matching))
    _tell(answer, matching, done, options, console)


def _act_in_chunks(action: Action, rows: selection.Letters, limit: int | None, progress: Progress) -> Answer:
    answer, seen = Answer(), 0
    try:
        for chunk in selection.oldest_first(rows.only("pk"), CHUNK, limit):
            answer += action([letter.pk for letter in chunk])
            seen += len(chunk)
            progress.reached(seen)
    except KeyboardInterrupt:
        raise CommandError(f"Interrupted after {_letters(seen)}; {answer.done:,} of them done.") from None
    return answer


def _tell(answer: Answer, matching: int, done: str, options: dict[str, Any], console: Console) -> None:
    if options["json"]:
        counts = {name: getattr(answer, name) for name in ("done", "closed", "running", "undeclared")}
        console.say_json({"matching": matching, "dry_run": options["dry_run"], **counts})
    elif not options["dry_run"]:
        console.say(done.format(_letters(answer.done)))
        for reason in _left_alone(answer):
            console.say(f"left alone: {reason}")
    if answer.undeclared:
        names = ", ".join(answer.undeclared)
        raise CommandError(
            f"Left alone: the letters of {names}, which this site does not declare, so there is nothing to run. They "
            "are kept. Declare the handler again (under this name=), or discard them."
        )


def _left_alone(answer: Answer) -> Iterator[str]:
    if answer.closed:
        yield f"{_letters(answer.closed)} resolved or discarded already"
    if answer.running:
        yield f"{_letters(answer.running)} that somebody runs or changes right now"


def _letters(count: int) -> str:
    return f"{count:,} dead letter{'s' * (count != 1)}"
