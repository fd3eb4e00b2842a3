"""Threads that change something and write a row about it, or none, as fast as they can. Plain Django ORM."""

import time
import uuid
from typing import Any

import django
import msgspec

from benchmarks.child import Clock

django.setup()

from django.db import connections, transaction  # noqa: E402

from benchmarks.pace import at_pace  # noqa: E402
from benchmarks.site.models import Effect, HandwrittenRow  # noqa: E402

PADDING = "x" * 214


def run(clock: Clock, kind: str, process: int, threads: int, commits: int) -> dict[str, Any]:
    def commit(thread: int, number: int) -> None:
        key = f"key-{process}-{thread}"
        with transaction.atomic():
            Effect.objects.create(key=key, number=number)
            if kind == "row by hand":
                write(key, number)

    clock.wait_for_start()
    at_pace(float("inf"), threads * commits, threads, commit, connections.close_all)
    clock.end()
    return {"kind": kind}


def write(key: str, number: int) -> None:
    headers = [("ce_id", str(uuid.uuid4())), ("ce_source", "bench"), ("ce_type", "bench.measured")]
    HandwrittenRow.objects.create(
        topic="bench.measured",
        key=key.encode(),
        value=msgspec.json.encode({"number": number, "at": time.time(), "padding": PADDING}),
        headers=msgspec.json.encode(headers),
    )
