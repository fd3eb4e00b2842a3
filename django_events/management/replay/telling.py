"""What a replay says: before it begins, of each failure, and at its end."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.core.management.base import CommandError

from django_events.consuming.replay import Replayed, Verdict
from django_events.handlers import Delivery, Handler
from django_events.kafka.spans import Span
from django_events.management.console import Console
from django_events.management.printable import printable
from django_events.management.replay.outcome import Outcome


def what_follows(handler: Handler, wanted: Sequence[Span], options: dict[str, Any], console: Console) -> None:
    places = ", ".join(_named(span) for span in wanted if span.start < span.end) or "nothing"
    console.note(f"Replaying at {handler}: {places}")
    if handler.delivery is Delivery.IDEMPOTENT:
        note = "It is idempotent: nothing says what it has handled, so it is called with every event"
        console.note(f"{note}{', with or without --again' * options['again']}.")
    elif options["again"]:
        console.note("--again: it is called also with what it has processed, and those effects happen once more.")
    else:
        console.note("It is exactly-once: what it has processed is skipped.")
    if options["dry_run"]:
        console.note("This is a dry run: the handler is not called.")


def _named(span: Span) -> str:
    return f"{span.partition} from {span.start:,} to {span.end:,}"


def failure(replayed: Replayed, options: dict[str, Any], console: Console) -> None:
    report, (partition, offset) = replayed.report, replayed.record[:2]
    assert report is not None
    if options["json"]:
        place = {"topic": partition.topic, "partition": partition.number, "offset": offset}
        console.say_json({"failed": place, "exception": report.exception, "message": report.message})
    else:
        text = f"{report.exception}: {report.message}".removesuffix(": ").partition("\n")[0]
        console.say(f"failed  {replayed.record}  {printable(text)}")


def whole(outcome: Outcome, options: dict[str, Any], console: Console) -> None:
    if options["json"]:
        names = {verdict.value.replace(" ", "_"): outcome.counts[verdict] for verdict in Verdict}
        left = [
            {"topic": each.partition.topic, "partition": each.partition.number, "from": each.start, "to": each.end}
            for each in outcome.left
        ]
        told = {name: options[name] for name in ("group", "handler", "topic", "again", "dry_run")}
        console.say_json({**told, **names, "left": left})
        return
    words = {verdict: verdict.value for verdict in Verdict}
    if options["dry_run"]:
        words |= {Verdict.HANDLED: "would be handled", Verdict.FAILED: "cannot be read"}
    always = (Verdict.HANDLED, Verdict.SKIPPED, Verdict.FAILED)
    shown = [verdict for verdict in Verdict if verdict in always or outcome.counts[verdict]]
    console.say(", ".join(f"{outcome.counts[verdict]:,} {words[verdict]}" for verdict in shown))


def complain(outcome: Outcome, handler: Handler, options: dict[str, Any], trouble: str | None) -> None:
    texts = [*_what_was_left(outcome, trouble), *_what_failed(outcome, handler, options)]
    if texts:
        raise CommandError(" ".join(texts))


def _what_was_left(outcome: Outcome, trouble: str | None) -> Iterator[str]:
    if outcome.left:
        places = ", ".join(map(_named, outcome.left))
        yield f"{trouble or 'Stopped.'} Not done: {places}. Go on with --partition N --from OFFSET."


def _what_failed(outcome: Outcome, handler: Handler, options: dict[str, Any]) -> Iterator[str]:
    failed, held_back = outcome.counts[Verdict.FAILED], outcome.counts[Verdict.HELD_BACK]
    if not failed:
        return
    behind = f"; behind them {_events(held_back)} held back, to keep the order of their keys" * bool(held_back)
    yield f"{_events(failed)} failed{behind}."
    if not options["dry_run"]:
        skips = handler.delivery is Delivery.EXACTLY_ONCE and not options["again"]
        yield "Mend the cause, then " + (
            "replay the same: what is processed is skipped." if skips else
            "replay from the first that failed, with --partition N --from OFFSET."
        )  # fmt: skip


def _events(count: int) -> str:
    return f"{count:,} event{'s' * (count != 1)}"
