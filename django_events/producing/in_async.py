"""Calls that block do not belong into an event loop."""

import asyncio
import os

from django_events.exceptions import CalledInAsync

TOGETHER = (
    "put the call, with the change that the event tells of, into a function, and await sync_to_async(function)(…)"
)
"""What to do instead of sending in an event loop."""


def refuse_in_async(call: str, instead: str, *, or_else: str = TOGETHER) -> None:
    """Raise CalledInAsync if this thread runs an event loop, unless Django was told not to mind (as in notebooks)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    if not os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE"):
        raise CalledInAsync(f"{call} blocks, and was called in an event loop. Await {instead}; or {or_else}.")
