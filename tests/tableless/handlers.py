"""Handlers with every policy that is possible without tables, and one that repairs what was saved."""

import sys
from typing import Any

from django_events import Backoff, Batch, ConsumerGroup, Event, OnFailure, Topic, broadcast

signup = Topic("signup", dict[str, Any])
mailing = ConsumerGroup("mailing")
repairs = ConsumerGroup("repairs")


def say(what: str, event: Event[dict[str, Any]]) -> None:
    sys.stdout.write(f"{what} {event.payload['name']} at attempt {event.attempt}\n")
    sys.stdout.flush()


@mailing.idempotent(signup, retry=Backoff(first=0.01, max=0.01))
def block(event: Event[dict[str, Any]]) -> None:
    if event.attempt == 1:
        raise ValueError("not yet")
    say("block", event)


@mailing.idempotent(signup, batch=Batch(), on_failure=OnFailure.DISCARD, retry=False)
def discard(events: list[Event[dict[str, Any]]]) -> None:
    for event in events:
        if event.payload["name"] == "bad":
            raise ValueError("discarded for good")
        say("discard", event)


@mailing.idempotent(signup, on_failure=OnFailure.SAVE, retry=False)
def save(event: Event[dict[str, Any]]) -> None:
    if event.payload["name"] == "bad":
        raise ValueError("saved for good")
    say("save", event)


@repairs.idempotent(signup, dead_letters_of=mailing)
def repair(event: Event[dict[str, Any]]) -> None:
    say(f"repair {event.header('dead-letter-handler')} of", event)


@broadcast(signup)
def hear(event: Event[dict[str, Any]]) -> None:
    say("hear", event)
